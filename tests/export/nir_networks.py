"""Small networks, and their spikes, that the tests of NIR share."""

import keras
import numpy as np

import keras_snn as snn
from keras_snn.layers.spiking_layer import SpikingLayer

L = keras.layers
TimeFold, LIF, IF = snn.layers.TimeFold, snn.layers.LIF, snn.layers.IF

# 15 / 16: products with it are exact for some steps, so that potentials that
# meet the threshold exactly do so in any order of the operations.
BETA = 0.9375


def lenet():
    return snn.models.LeNet(
        input_shape=(8, 8, 1), width=0.2, beta=BETA, **spike_trains()
    )


def resnet():
    """Return a network of residual blocks with 1x1 shortcuts, stride 2."""
    return snn.models.ResNet7(
        input_shape=(8, 8, 2),
        width=0.08,
        beta=BETA,
        norm="none",
        **spike_trains(),
    )


def spike_trains():
    return {"time_steps": None, "encoder": None, "classes": 4, "seed": 0}


def conv(filters, size, name, **options):
    options = {"padding": "same", "use_bias": False, **options}
    return TimeFold(L.Conv2D(filters, size, name=name, **options))


def identity():
    """Return a residual network of identities, uneven padding and biases."""
    inputs = keras.Input((None, 8, 8, 2))
    x = LIF(BETA, name="lif1")(conv(4, 3, "conv1")(inputs))
    y = LIF(BETA, name="lif2")(conv(4, 2, "conv2")(x))
    y = L.Add(name="add")([conv(4, 3, "conv3", use_bias=True)(y), x])
    x = LIF(BETA, threshold=0.8, name="lif3")(y)
    x = LIF(BETA, name="lif4")(conv(6, 3, "conv4", strides=2)(x))
    x = TimeFold(L.Flatten(name="flatten"))(x)
    x = LIF(BETA, name="lif5")(TimeFold(L.Dense(7, name="dense1"))(x))
    x = TimeFold(L.Dense(5, use_bias=False, name="dense2"))(x)
    return snn.Model(inputs, snn.layers.MembraneReadout(BETA, name="out")(x))


def branches():
    """Return a network of two paths with neurons that meet in a sum."""
    inputs = keras.Input((None, 8, 8, 2))
    start = LIF(BETA, name="start")(conv(3, 3, "conv")(inputs))
    paths = []
    for n in (1, 2):
        x = LIF(BETA, name=f"branch{n}_lif")(conv(3, 3, f"branch{n}")(start))
        paths.append(conv(4, 3, f"branch{n}_out")(x))
    x = LIF(BETA, name="end")(L.Add(name="add")(paths))
    return snn.Model(inputs, x)


def synaptic():
    """Return a network of neurons whose input acts on for a while."""
    inputs = keras.Input((None, 6))
    x = TimeFold(L.Dense(10, use_bias=False, name="dense1"))(inputs)
    x = snn.layers.SynapticLIF(BETA, alpha=0.75, threshold=3.0, name="lif1")(x)
    x = TimeFold(L.Dense(4, name="dense2"))(x)
    x = snn.layers.SynapticLIF(1.0, alpha=0.5, threshold=4.0, name="lif2")(x)
    return snn.Model(inputs, x)


def parametric():
    """Return a network whose channels have a decay each, and groups."""
    inputs = keras.Input((None, 8, 8, 2))
    x = conv(4, 3, "conv1")(inputs)
    x = snn.layers.PLIF(per_channel=True, name="lif1")(x)
    x = TimeFold(L.DepthwiseConv2D(3, depth_multiplier=2, name="conv2"))(x)
    x = snn.layers.PLIF(name="lif2", scale_input=True, threshold=0.3)(x)
    x = LIF(BETA, name="lif3")(conv(4, 3, "conv3", groups=2)(x))
    return snn.Model(inputs, x)


def parametric_layers():
    """Return a network whose layers have a learned decay each."""
    inputs = keras.Input((None, 6))
    x = TimeFold(L.Dense(10, use_bias=False, name="dense1"))(inputs)
    x = snn.layers.PLIF(name="lif1", scale_input=True, threshold=0.3)(x)
    x = TimeFold(L.Dense(4, name="dense2"))(x)
    return snn.Model(inputs, snn.layers.PLIF(name="lif2")(x))


def series():
    """Return a network of one spatial axis."""
    inputs = keras.Input((None, 12, 3))
    x = TimeFold(L.Conv1D(4, 3, padding="same", strides=2, name="conv1"))(
        inputs
    )
    x = LIF(BETA, name="lif1")(x)
    x = TimeFold(L.Conv1D(5, 3, dilation_rate=2, name="conv2"))(x)
    x = LIF(BETA, name="lif2")(x)
    x = TimeFold(L.Flatten(name="flatten"))(x)
    x = LIF(BETA, name="lif3")(TimeFold(L.Dense(4, name="dense"))(x))
    return snn.Model(inputs, x)


def soft():
    """Return a network of neurons reset by subtraction."""
    inputs = keras.Input((None, 6))
    x = TimeFold(L.Dense(10, use_bias=False, name="dense1"))(inputs)
    x = LIF(BETA, reset="subtract", name="lif1")(x)
    x = TimeFold(L.Dense(4, name="dense2"))(x)
    return snn.Model(inputs, IF(4.0, reset="subtract", name="lif2")(x))


def recurrent():
    """Return a network of feedback of three kinds, one with synapses."""
    inputs = keras.Input((None, 6))
    x = TimeFold(L.Dense(10, name="dense1"))(inputs)
    x = snn.layers.RecurrentLIF(
        beta=BETA, alpha=0.75, threshold=3.0, name="lif1"
    )(x)
    x = TimeFold(L.Dense(4, use_bias=False, name="dense2"))(x)
    back = L.Dense(4, name="back")
    x = snn.layers.RecurrentLIF(back, 1.0, name="lif2")(x)
    x = TimeFold(L.Dense(4, name="dense3"))(x)
    x = snn.layers.RecurrentLIF(L.Rescaling(-0.25), BETA, name="lif3")(x)
    return snn.Model(inputs, x)


def dense(reset="zero", **options):
    """Return a network of vectors that returns spikes."""
    inputs = keras.Input((None, 6))
    x = TimeFold(L.Dense(10, use_bias=False, name="dense1"))(inputs)
    x = LIF(BETA, reset=reset, name="lif1", **options)(x)
    x = TimeFold(L.Dense(4, name="dense2"))(x)
    return snn.Model(inputs, IF(threshold=0.5, name="lif2")(x))


def of(*layers, shape=(None, 8, 8, 2)):
    """Return a model of these layers in a row."""
    x = inputs = keras.Input(shape)
    for layer in layers:
        x = layer(x)
    return snn.Model(inputs, x)


def on_grid(model, seed=0):
    """Give weights on a grid, whose sums are the same in any order."""
    return _with_weights(model, seed, lambda w: np.round(w * 1024) / 1024)


def as_drawn(model, seed=0):
    return _with_weights(model, seed, lambda w: w)


def _with_weights(model, seed, change):
    rng = np.random.default_rng(seed)
    for w in model.trainable_variables:
        fan_in = max(np.prod(w.shape[:-1]), 1)
        if "gamma" in w.path or "beta" in w.path:
            w.assign(rng.uniform(0.5, 1.0, w.shape))
        else:
            values = rng.normal(0.15, 1.0, w.shape) * 2.0 / np.sqrt(fan_in)
            w.assign(change(values))
    return model


def spikes(model, time_steps=60, seed=3):
    rng = np.random.default_rng(seed)
    shape = (2, time_steps, *model.input_shape[2:])
    return (rng.random(shape) < 0.4).astype("float32")


def trains(model, x):
    """Return the output of every layer of neurons by name."""
    found = [layer for layer in model.layers if isinstance(layer, SpikingLayer)]
    outputs = keras.Model(model.input, [layer.output for layer in found])(x)
    outputs = outputs if isinstance(outputs, list) else [outputs]
    arrays = map(keras.ops.convert_to_numpy, outputs)
    return dict(zip((layer.name for layer in found), arrays))


def scores(model, x):
    return keras.ops.convert_to_numpy(keras.Model.__call__(model, x))
