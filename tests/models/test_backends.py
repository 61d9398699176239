"""The same numbers on TensorFlow and JAX, eager, as a graph and compiled.

Run as a program, `python -m tests.models.test_backends FILE.npz`, this module
writes the results of the current backend.
"""

import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import ops

from keras_snn import models
from tests.helpers import compiled, relative_error

RULES = ("collapsed", "exact", "arctan")
SHAPES = {"LeNet": (12, 12, 1), "ResNet7": (8, 8, 3)}
CASES = [(name, rule) for name in SHAPES for rule in RULES]
# Without optimizations the programs compile in half the time.
JAX = {"KERAS_BACKEND": "jax", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
ROOT = pathlib.Path(__file__).parents[2]


def forward_and_backward(model, x, labels, mode="graph"):
    """Return NumPy `(outputs, gradients)` of one training step.

    Args:
        mode: `"eager"`, `"graph"` or `"jit_compile"`.
    """
    labels = ops.convert_to_tensor(labels)
    if keras.config.backend() == "tensorflow":
        step, values = _tensorflow_step(model, labels)
    else:
        step, values = _jax_step(model, labels)
    if mode != "eager":
        step = compiled(step, mode == "jit_compile")
    outputs, gradients = step(values, ops.convert_to_tensor(x))
    return np.asarray(outputs), [np.asarray(g) for g in gradients]


def _tensorflow_step(model, labels):
    import tensorflow as tf

    def step(values, x):
        variables = [v.value for v in model.trainable_variables]
        with tf.GradientTape() as tape:
            outputs = model(x, training=True)
            loss = ops.sum(ops.square(outputs - labels))
        return outputs, tape.gradient(loss, variables)

    return step, ()


def _jax_step(model, labels):
    import jax

    def loss(values, x):
        mapping = zip(model.trainable_variables, values)
        with keras.StatelessScope(state_mapping=mapping):
            outputs = model(x, training=True)
        return ops.sum(ops.square(outputs - labels)), outputs

    def step(values, x):
        (_, outputs), gradients = jax.value_and_grad(loss, has_aux=True)(
            values, x
        )
        return outputs, gradients

    return step, [v.value for v in model.trainable_variables]


def case(name, rule):
    """Return `(model, spikes, labels)`, the same on every backend."""
    model = getattr(models, name)(
        input_shape=SHAPES[name],
        time_steps=6,
        encoder=None,
        learning_rule=rule,
        norm="none",
        dropout=0.0,
        width=1 / 16,
    )
    rng = np.random.default_rng(0)
    weights = []
    for w in model.get_weights():
        w = rng.normal(0.05, 2 / np.sqrt(np.prod(w.shape[:-1])), w.shape)
        # Multiples of 1/1024: sums are exact in whatever order they are
        # taken, and no neuron at its threshold hangs on rounding.
        weights.append(np.round(w * 1024) / 1024)
    model.set_weights(weights)
    spikes = rng.random((2, 6, *SHAPES[name])) < 0.4
    return model, spikes.astype("float32"), np.eye(10, dtype="float32")[:2]


def results():
    """Return the outputs and gradients of all cases by name."""
    found = {}
    for name, rule in CASES:
        outputs, gradients = forward_and_backward(*case(name, rule))
        found[f"{name}/{rule}/outputs"] = outputs
        for i, gradient in enumerate(gradients):
            found[f"{name}/{rule}/gradient{i}"] = gradient
    return found


@pytest.fixture(scope="module")
def results_on_jax(tmp_path_factory):
    if keras.config.backend() != "tensorflow":
        pytest.skip("compares from the side of TensorFlow")
    pytest.importorskip("jax")
    path = tmp_path_factory.mktemp("backends") / "jax.npz"
    program = subprocess.run(
        [sys.executable, "-m", "tests.models.test_backends", str(path)],
        cwd=ROOT,
        env={**os.environ, **JAX},
        capture_output=True,
        text=True,
    )
    assert program.returncode == 0, program.stderr[-2000:]
    return dict(np.load(path))


@pytest.mark.parametrize("name, rule", CASES)
def test_tensorflow_equals_jax(name, rule, results_on_jax):
    # Eager is the quicker on TensorFlow; below, graphs equal it.
    outputs, gradients = forward_and_backward(*case(name, rule), "eager")
    expected = results_on_jax[f"{name}/{rule}/outputs"]
    assert relative_error(outputs, expected) < 1e-5
    for i, gradient in enumerate(gradients):
        assert np.any(gradient)
        expected = results_on_jax[f"{name}/{rule}/gradient{i}"]
        assert relative_error(gradient, expected) < 1e-5


@pytest.mark.parametrize("mode", ["graph", "jit_compile"])
def test_compiled_training_equals_eager(mode):
    model, x, labels = case("LeNet", "collapsed")
    assert isinstance(model, models.Model)
    assert model.runs_layer_by_layer is None
    outputs, gradients = forward_and_backward(model, x, labels, "eager")
    again, same = forward_and_backward(model, x, labels, mode)
    assert relative_error(again, outputs) < 1e-5
    for gradient, expected in zip(same, gradients, strict=True):
        assert np.any(expected)
        assert relative_error(gradient, expected) < 1e-5


if __name__ == "__main__":
    np.savez(sys.argv[1], **results())
