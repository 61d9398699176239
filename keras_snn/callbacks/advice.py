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
    "silent_normalized": (
        "Silent neurons never fired on `x`; they pass on nothing. Their "
        "currents are normalized, so scaling the kernels would change nothing: "
        "lower the layer's threshold, start the normalization's offset higher "
        "(beta_initializer), use more time steps, or learn by "
        'learning_rule="rate", which credits silent neurons, too.'
    ),
    "saturated_normalized": (
        "Saturated neurons fire at nearly every step, whatever the input. "
        "Their currents are normalized: raise the layer's threshold, start "
        "the normalization's scale lower (gamma_initializer), or lower the "
        "learning rate."
    ),
    "saturated": (
        "Saturated neurons fire at nearly every step, whatever the input. "
        "Make the weights smaller (keras_snn.models.scale_to_rate(model, x) "
        "before training), lower the learning rate, or raise the layer's "
        "threshold."
    ),
}
