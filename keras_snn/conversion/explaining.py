"""Why a converted network loses accuracy, in words."""

from keras_snn.layers import PoissonEncoder, RepeatEncoder, TimeFold
from keras_snn.layers.encoders import Encoder
from keras_snn.network import kinds

# Errors below this fraction of a layer's activations are not worth a word.
LEAST = 0.02
# Nor are those below this fraction of the largest of another cause.
SMALL = 0.25
OWN = ("clipping", "rounding", "unevenness")


def reasons(report, model):
    """Return sentences: which layers lose accuracy, to what, what to try.

    The causes in the order of what each costs the layer that it costs most.

    Args:
        report: A `Report` without reasons.
        model: The spiking network.
    """
    if not report.layers:
        return []
    worst = {
        cause: max(report.layers, key=lambda row: getattr(row, cause))
        for cause in OWN
    }
    costs = {cause: getattr(row, cause) for cause, row in worst.items()}
    least = max(LEAST, SMALL * max(costs.values()))
    found = [
        _SENTENCES[cause](worst[cause], report, model)
        for cause in sorted(OWN, key=costs.get, reverse=True)
        if costs[cause] >= least
    ]
    found = [*_of_input(report, model), *_of_pooling(report, model), *found]
    return [*found, _of_depth(report)] if found else [_nothing(report)]


def _of_clipping(row, report, model):
    return (
        f"'{row.name}' clips: {row.cut_off:.2%} of its activations are above "
        f"its threshold, {row.scale:.3g}, which costs {row.clipping:.1%} of "
        'its signal. Try method="max" or a `percentile` nearer to 100, or '
        "calibration data like these."
    )


def _of_rounding(row, report, model):
    time_steps = report.time_steps
    text = (
        f"'{row.name}' rounds: in {time_steps} steps its activations are "
        f"multiples of {row.scale:.3g} / {time_steps}, which costs "
        f"{row.rounding:.1%} of its signal; {row.silent:.0%} of the positive "
        f"ones never fire, and its mean rate is {row.spike_rate:.3f}. Try "
    )
    neuron = model.get_layer(f"{row.name}_if")
    if neuron.initial_potential < 0.49 * neuron.threshold:
        text += "initial_potential=0.5, "
    return text + (
        "more `time_steps`; a lower threshold, by a lower `percentile`; or "
        '`quantize`, some epochs of training, and method="qcfs".'
    )


def _of_unevenness(row, report, model):
    neuron = model.get_layer(f"{row.name}_if")
    text = (
        f"'{row.name}' is uneven: its rates are {row.unevenness:.1%} of its "
        "signal away from what their mean currents would make, "
    )
    if neuron.reset == "zero":
        return text + (
            "mostly since a reset to zero loses what exceeds the threshold. "
            'Try reset="subtract".'
        )
    return text + (
        "since spikes come in bursts and of both signs. Try more `time_steps`."
    )


_SENTENCES = {
    "clipping": _of_clipping,
    "rounding": _of_rounding,
    "unevenness": _of_unevenness,
}


def _of_input(report, model):
    """Return that the first layer gets a wrong current, if it does."""
    first = report.layers[0]
    encoder = next((x for x in model.layers if isinstance(x, Encoder)), None)
    if first.inherited < LEAST or type(encoder) is RepeatEncoder:
        return []
    random = ", whose spikes are random" * isinstance(encoder, PoissonEncoder)
    return [
        f"The input is inexact: {type(encoder).__name__}{random} moves the "
        f"currents of '{first.name}' by {first.inherited:.1%} of its signal. "
        'Try encoder="repeat", or more `time_steps`.'
    ]


def _of_pooling(report, model):
    """Return that maxima of spikes are too high, if they are taken."""
    names = [
        f"'{layer.name}'"
        for layer in model.layers
        if isinstance(layer, TimeFold)
        and kinds.of(layer.layer).role == "maximum"
    ]
    costs = max(row.inherited for row in report.layers)
    if not names or costs < LEAST:
        return []
    return [
        f"{', '.join(names)}: the maximum of spikes fires whenever any of its "
        'inputs does, which is too high. Try max_pooling="rate".'
    ]


def _of_depth(report):
    """Return how much of the last layer's error comes from before it."""
    row = report.layers[-1]
    text = (
        f"'{row.name}', the last spiking layer, is off by "
        f"{row.relative_error:.1%}; what it inherits from the layers before "
        f"it is {row.inherited:.1%}."
    )
    if row.inherited < 0.5 * row.relative_error:
        return text
    return text + (
        f" Errors add up through {len(report.layers)} layers: more "
        "`time_steps` lower all of them, fewer steps need `quantize`, some "
        'epochs of training, and method="qcfs".'
    )


def _nothing(report):
    row = max(report.layers, key=lambda row: row.relative_error)
    return (
        f"No layer loses {LEAST:.0%} of its signal by itself; '{row.name}' is "
        f"off most, by {row.relative_error:.1%}."
    )
