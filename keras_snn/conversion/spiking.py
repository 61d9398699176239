"""The spiking network of a graph."""

import dataclasses

import keras

from keras_snn import layers
from keras_snn.conversion.known import CONVERT
from keras_snn.conversion.plan import PREPARES, fresh_layer
from keras_snn.models import Model

L = keras.layers


@dataclasses.dataclass
class SpikingOptions:
    """How the spiking network is to be built.

    `initial_potential` is a fraction of each threshold.
    """

    encoder: object
    time_steps: int | None
    reset: str
    initial_potential: float
    max_pooling: str
    pooling_neurons: bool
    learning_rule: object


@dataclasses.dataclass
class Train:
    """A sequence whose mean over time, times `scale`, is the activation.

    `bounded` tells that every step's value lies between 0 and 1.
    """

    sequence: object
    scale: float = 1.0
    bounded: bool = False


def neuron_name(op):
    """Return the name of the spiking layer of an operation."""
    return f"{op.name}_if"


def build(graph, thresholds, settings, name=None):
    """Return the spiking `keras_snn.Model` of a graph.

    Args:
        graph: A `Graph` without problems, folded.
        thresholds: Dict from the graph's neurons to their thresholds.
        settings: `SpikingOptions`.
        name: Name of the model.
    """
    inputs, trains = _start(graph, settings)
    head, tail = graph.head()
    for op in _between(graph, tail):
        trains[op] = _convert(op, trains, thresholds, settings)
    train = trains[head]
    readout = layers.MembraneReadout(
        beta=1.0, learning_rule=settings.learning_rule, name="readout"
    )
    x = readout(train.sequence)
    if train.scale != 1.0:
        x = keras.layers.Rescaling(train.scale, name="readout_scale")(x)
    for op in tail:
        x = fresh_layer(op)(x)
    return Model(inputs, x, name=name)


def currents_into(graph, target, thresholds, settings):
    """Return `(inputs, currents)`: the network up to one activation.

    The currents are in units of the ordinary network's activations.
    """
    inputs, trains = _start(graph, settings)
    _, tail = graph.head()
    for op in _between(graph, tail):
        if op is target:
            break
        trains[op] = _convert(op, trains, thresholds, settings)
    return inputs, _rescaled(trains[target.inputs[0]], target.name).sequence


def _between(graph, tail):
    """Return the operations between the encoder and the readout."""
    return [
        op
        for op in graph.ops[1:]
        if op not in tail and op not in graph.before()
    ]


def _start(graph, settings):
    """Return the model's input and the encoded trains."""
    before, shape = graph.before(), graph.input.shape
    if settings.encoder is None:
        shape = (settings.time_steps, *shape)
        _check_frames(graph, before)
    inputs = keras.Input(shape, name="input")
    values = {graph.input: inputs}
    for op in before:
        layer = fresh_layer(op)
        if settings.encoder is None:
            layer = layers.TimeFold(layer)
        args = [values[x] for x in op.inputs]
        values[op] = layer(args if len(args) > 1 else args[0])
    x = values[before[-1] if before else graph.input]
    if settings.encoder is not None:
        x = settings.encoder(x)
    return inputs, dict.fromkeys(values, Train(x))


def _check_frames(graph, before):
    """Refuse what prepares images, where there are sequences instead."""
    found = [op for op in before if op.role != "scaling"]
    if found:
        names = ", ".join(f"'{op.name}'" for op in found)
        raise ValueError(
            f"'{graph.name}' prepares images by {names}, which runs once, "
            "before the encoder. Received: encoder=None, sequences as input. "
            "Prepare the frames yourself and convert the network behind it, "
            "or convert with an encoder."
        )


def _convert(op, trains, thresholds, settings):
    """Append one operation to the spiking network; return its train."""
    sources = [trains[x] for x in op.inputs]
    return CONVERT.of(op.layer)(op, sources, thresholds, settings)


@CONVERT.register("synapses")
def _synapses(op, sources, thresholds, settings):
    (source,) = sources
    return _fold(fresh_layer(op, source.scale), source.sequence)


@CONVERT.register("wiring")
def _wiring(op, sources, thresholds, settings):
    (source,) = sources
    return _fold(fresh_layer(op), source.sequence, source)


@CONVERT.register("activation")
def _activation(op, sources, thresholds, settings):
    (source,) = sources
    currents = _rescaled(source, op.name).sequence
    spikes = _neurons(op, thresholds[op], settings)(currents)
    return Train(spikes, thresholds[op], bounded=True)


def _fold(layer, sequence, source=None):
    """Apply a layer at every step; the scale stays that of `source`."""
    sequence = layers.TimeFold(layer)(sequence)
    if source is None:
        return Train(sequence)
    return Train(sequence, source.scale, source.bounded)


def _neurons(op, threshold, settings):
    return layers.IF(
        threshold=threshold,
        reset=settings.reset,
        learning_rule=settings.learning_rule,
        # A threshold's worth of current makes one spike.
        factor=1.0 / threshold,
        initial_potential=settings.initial_potential * threshold,
        name=neuron_name(op),
    )


@CONVERT.register("average")
def _average(op, sources, thresholds, settings):
    (source,) = sources
    return _average_pooling(fresh_layer(op), op, source, settings)


def _average_pooling(layer, op, source, settings):
    pooled = _fold(layer, source.sequence, source)
    if source.bounded and settings.pooling_neurons:
        pooled.sequence = _neurons(op, 1.0, settings)(pooled.sequence)
    return pooled


# Beside each max pooling: of averages, and of rates.
MAX_POOLING = {
    L.MaxPooling1D: (L.AveragePooling1D, layers.MaxRatePooling1D),
    L.MaxPooling2D: (L.AveragePooling2D, layers.MaxRatePooling2D),
    L.MaxPooling3D: (L.AveragePooling3D, layers.MaxRatePooling3D),
}
GLOBAL_MAX_POOLING = {
    L.GlobalMaxPooling1D: (L.GlobalAveragePooling1D, layers.MaxRatePooling1D),
    L.GlobalMaxPooling2D: (L.GlobalAveragePooling2D, layers.MaxRatePooling2D),
    L.GlobalMaxPooling3D: (L.GlobalAveragePooling3D, layers.MaxRatePooling3D),
}


@CONVERT.register(*MAX_POOLING)
def _max_pooling(op, sources, thresholds, settings):
    (source,) = sources
    average, of_rates = MAX_POOLING[type(op.layer)]
    config = {
        "pool_size": op.layer.pool_size,
        "strides": op.layer.strides,
        "padding": op.layer.padding,
        "name": op.name,
    }
    if settings.max_pooling == "average":
        return _average_pooling(average(**config), op, source, settings)
    if settings.max_pooling == "spike" and source.bounded:
        return _fold(fresh_layer(op), source.sequence, source)
    sequence = of_rates(**config)(source.sequence)
    return Train(sequence, source.scale, source.bounded)


@CONVERT.register(*GLOBAL_MAX_POOLING)
def _global_max_pooling(op, sources, thresholds, settings):
    (source,) = sources
    average, of_rates = GLOBAL_MAX_POOLING[type(op.layer)]
    if settings.max_pooling == "average":
        layer = average(keepdims=op.layer.keepdims, name=op.name)
        return _average_pooling(layer, op, source, settings)
    if settings.max_pooling == "spike" and source.bounded:
        return _fold(fresh_layer(op), source.sequence, source)
    # The one window of the whole frame.
    pool = of_rates(op.inputs[0].shape[:-1], name=op.name)
    pooled = Train(pool(source.sequence), source.scale, source.bounded)
    if op.layer.keepdims:
        return pooled
    reshape = L.Reshape(op.shape, name=f"{op.name}_channels")
    return _fold(reshape, pooled.sequence, pooled)


@CONVERT.register("merge")
def _merge(op, sources, thresholds, settings):
    config = {**op.layer.get_config(), "name": op.name}
    layer = type(op.layer).from_config(config)
    return Train(layer(_at_one_scale(op, sources, 1.0)))


@CONVERT.register("join")
def _join(op, sources, thresholds, settings):
    config = {**op.layer.get_config(), "name": op.name}
    if config["axis"] > 0:
        # Counted from the end it is the same axis with time and without.
        config["axis"] -= len(op.shape) + 1
    scale = max(source.scale for source in sources)
    bounded = all(source.bounded for source in sources)
    layer = type(op.layer).from_config(config)
    return Train(layer(_at_one_scale(op, sources, scale)), scale, bounded)


def _at_one_scale(op, sources, scale):
    return [
        _rescaled(source, f"{op.name}_{number}", scale).sequence
        for number, source in enumerate(sources, 1)
    ]


def _rescaled(source, name, scale=1.0):
    """Return the train at another scale, by a layer if it differs."""
    if source.scale == scale:
        return source
    layer = keras.layers.Rescaling(source.scale / scale, name=f"{name}_scale")
    return Train(layers.TimeFold(layer)(source.sequence), scale, source.bounded)


def scale_of(op, thresholds):
    """Return the scale of an operation's train, as `build` chooses it."""
    if op.fires:
        return thresholds[op]
    if op.role == "join":
        return max(scale_of(x, thresholds) for x in op.inputs)
    if op.role in ("synapses", "merge", "input", *PREPARES):
        return 1.0
    return scale_of(op.inputs[0], thresholds)
