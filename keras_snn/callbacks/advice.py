"""When a layer counts as broken, and what helps."""

# Of a layer's neurons, the fraction from which on the layer counts as broken.
MOSTLY_SILENT = 0.95
MOSTLY_SATURATED = 0.5

ADVICE = {
    "silent": (
        "Silent neurons never fired on `x`; they pass on nothing and hardly "
        "learn. Call keras_snn.models.scale_to_rate(model, x) before "
        "training, lower the layer's threshold, or use more time steps."
    ),
    "saturated": (
        "Saturated neurons fire at nearly every step, whatever the input. "
        "Make the weights smaller (keras_snn.models.scale_to_rate(model, x) "
        "before training), lower the learning rate, or raise the layer's "
        "threshold."
    ),
}
