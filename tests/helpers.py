"""What several tests need, on every backend."""

import contextlib
import gc
import os
import pathlib
import weakref

import keras
import numpy as np
import pytest
from keras import ops

import keras_snn
from keras_snn.event_driven import switch

SHARED = pathlib.Path(
    os.environ.get(
        "KERAS_SNN_SHARED", pathlib.Path(__file__).parents[2] / "shared"
    )
)

# JAX compiles for long: for a case whose like runs there, too.
ON_JAX = keras.config.backend() == "jax"
slow_on_jax = [pytest.mark.slow] if ON_JAX else []

GOLDEN_CASES = {
    "lenet": "LeNet",
    "vgg9": "VGG9",
    "vgg9_dropout": "VGG9",
    "resnet11": "ResNet11",
    "resnet11_dropout": "ResNet11",
}


@contextlib.contextmanager
def uncollected(cls, monkeypatch):
    """Collect no garbage; give weak references to all that is made of `cls`."""
    found, init = [], cls.__init__

    def noted(self, *arguments, **named):
        found.append(weakref.ref(self))
        init(self, *arguments, **named)

    monkeypatch.setattr(cls, "__init__", noted)
    gc.disable()
    try:
        yield found
    finally:
        gc.enable()


@contextlib.contextmanager
def channels_first():
    """Make Keras' layers of images expect channels first by default."""
    before = keras.config.image_data_format()
    keras.config.set_image_data_format("channels_first")
    try:
        yield
    finally:
        keras.config.set_image_data_format(before)


@contextlib.contextmanager
def engine(on):
    """Run event by event, or with dense products."""
    before, switch._choice = switch._choice, on
    try:
        yield
    finally:
        switch._choice = before


def gradients(function, tensors, variables=()):
    """Return NumPy `(value, gradients)` of a scalar function.

    Gradients are those of `tensors`, then of `variables`.
    """
    tensors = [ops.convert_to_tensor(x) for x in tensors]
    if keras.config.backend() == "tensorflow":
        return _tensorflow_gradients(function, tensors, variables)
    return _jax_gradients(function, tensors, variables)


def _tensorflow_gradients(function, tensors, variables):
    import tensorflow as tf

    values = [v.value for v in variables]
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        value = function(*tensors)
    found = tape.gradient(value, [*tensors, *values])
    return value.numpy(), [None if g is None else g.numpy() for g in found]


def _jax_gradients(function, tensors, variables):
    import jax

    def stateless(tensors, values):
        with keras.StatelessScope(state_mapping=zip(variables, values)):
            return function(*tensors)

    differentiate = jax.value_and_grad(stateless, argnums=(0, 1))
    # Compiled as a whole: one operation at a time would compile each.
    value, found = jax.jit(differentiate)(tensors, [v.value for v in variables])
    return np.asarray(value), [np.asarray(g) for part in found for g in part]


def compiled(function, jit_compile=False):
    """Return `function` as the backend's graph (or compiled program)."""
    if keras.config.backend() == "tensorflow":
        import tensorflow as tf

        return tf.function(function, jit_compile=jit_compile)
    import jax

    return jax.jit(function)


def untraced(model):
    """Return a plain `keras.Model`, set to run without a graph.

    What it gives once, to compare with, does not repay tracing. JAX compiles
    either way, one operation at a time where it is eager.
    """
    if not isinstance(model, keras_snn.Model):
        model.run_eagerly = not ON_JAX
    return model


def relative_error(actual, expected):
    """Return `|actual - expected| / |expected|` in the Euclidean norm."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    return np.linalg.norm(actual - expected) / np.linalg.norm(expected)


def cosine(a, b):
    a, b = np.ravel(a).astype("float64"), np.ravel(b).astype("float64")
    return a @ b / (np.linalg.norm(a) * np.linalg.norm(b))


class Golden:
    """A case of `shared/golden`, its arrays in Keras' axis order."""

    def __init__(self, case):
        path = SHARED / "golden" / f"{case}.npz"
        if not path.exists():
            pytest.skip(f"golden cases are not at {path.parent}")
        self.arrays = dict(np.load(path))
        self.case = case
        self.beta = float(self.arrays["leak"])
        self.time_steps = int(self.arrays["steps"])
        self.spikes = (
            self.arrays["input_spikes"]
            .transpose(1, 0, 3, 4, 2)
            .astype("float32")
        )
        self.labels = np.eye(10, dtype="float32")[self.arrays["label"]]
        names = [k[2:] for k in self.arrays if k.startswith("w/")]
        last = [name for name in names if name.startswith("cnn")][-1]
        self.last_channels = self.arrays[f"w/{last}"].shape[0]
        self.weights = [self.kernel(f"w/{name}") for name in names]
        self.gradients = [self.kernel(f"g/{name}") for name in names]
        # Those of the rate rule, for the same weights, spikes and loss.
        self.arrays |= {
            f"rate_{key}": x
            for key, x in np.load(path.with_name(f"rate_{case}.npz")).items()
        }
        self.rate_gradients = [self.kernel(f"rate_g/{x}") for x in names]
        self.neurons = [k[6:] for k in self.arrays if k.startswith("total/")]

    def kernel(self, key):
        """Return a weight or gradient as a Keras kernel."""
        w = self.arrays[key]
        if w.ndim == 4:
            return w.transpose(2, 3, 1, 0)
        if key.endswith("fc0.weight"):
            # This dense layer sees channels, height, width.
            units, inputs = w.shape
            side = round((inputs / self.last_channels) ** 0.5)
            w = w.reshape(units, self.last_channels, side, side)
            w = w.transpose(0, 2, 3, 1).reshape(units, inputs)
        return w.T

    def frames(self, key):
        """Return a per-neuron array as (batch, ...features)."""
        x = self.arrays[key]
        return x.transpose(0, 2, 3, 1) if x.ndim == 4 else x

    def model(self, learning_rule, dropout=0.0):
        """Return the network with this case's weights."""
        import keras_snn

        model = getattr(keras_snn.models, GOLDEN_CASES[self.case])(
            input_shape=self.spikes.shape[2:],
            time_steps=self.time_steps,
            encoder=None,
            learning_rule=learning_rule,
            norm="none",
            beta=self.beta,
            dropout=dropout,
            width=1.0 if self.case == "lenet" else 1 / 8,
        )
        model.set_weights(self.weights)
        return model
