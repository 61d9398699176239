"""Decays and thresholds that differ from neuron to neuron."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_snn as snn
from keras_snn import analysis
from keras_snn.layers import (
    ALIF,
    IF,
    LIF,
    PLIF,
    MembraneReadout,
    RecurrentLIF,
    SynapticLIF,
    TimeFold,
)
from tests.helpers import compiled, gradients, slow_on_jax
from tests.layers import neuron_loops

# Of frames of 3 x 4: a decay a column (channel), a threshold a row.
BETAS = np.float32([0.25, 0.5, 0.875, 1.0])
THRESHOLDS = np.float32([[0.5], [0.75], [1.25]])
RULES = (
    *("rate", "arctan"),
    *(pytest.param(x, marks=slow_on_jax) for x in ("collapsed", "exact")),
)


def currents_of(*shape, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(0.3, 0.6, shape).astype("float32")


def spikes_and_credit(layer, x, g):
    """Return a layer's spikes, and the derivative of `sum(g * spikes)`."""
    _, (credit,) = gradients(lambda x: ops.sum(layer(x) * g), [x])
    return np.asarray(layer(x)), credit


@pytest.mark.parametrize(
    "reset", ["zero", pytest.param("subtract", marks=slow_on_jax)]
)
@pytest.mark.parametrize("rule", RULES)
def test_each_neuron_is_that_of_its_own_numbers(rule, reset):
    x, g = currents_of(2, 9, 3, 4), currents_of(2, 9, 3, 4, seed=1)
    options = {"reset": reset, "learning_rule": rule}
    layer = LIF(beta=BETAS, threshold=THRESHOLDS, **options)
    spikes, credit = spikes_and_credit(layer, x, g)
    for i, j in ((0, 0), (1, 2), (2, 1), (2, 3)):
        alone = LIF(float(BETAS[j]), float(THRESHOLDS[i, 0]), **options)
        at = np.s_[:, :, i : i + 1, j : j + 1]
        expected, expected_credit = spikes_and_credit(alone, x[at], g[at])
        np.testing.assert_array_equal(spikes[at], expected)
        np.testing.assert_allclose(
            credit[at], expected_credit, rtol=1e-5, atol=1e-6
        )


@pytest.mark.parametrize("reset", ["zero", "subtract"])
@pytest.mark.parametrize("kind", ["SynapticLIF", "ALIF", "RecurrentLIF"])
def test_neurons_that_learn_through_time(kind, reset):
    x = currents_of(2, 6, 3, seed=2)
    beta, threshold = BETAS[:3], np.float32([0.5, 0.8, 1.1])
    shared = {"beta": beta, "threshold": threshold, "reset": reset}
    if kind == "SynapticLIF":
        own = {"alpha": np.float32([0.2, 0.5, 0.9])}
        layer, loop = SynapticLIF(**shared, **own), neuron_loops.synaptic_loop
    elif kind == "ALIF":
        own = {"amplitude": 0.3, "rho": 0.8}
        layer, loop = ALIF(**shared, **own), neuron_loops.alif_loop
    else:
        layer, loop = RecurrentLIF(**shared), neuron_loops.recurrent_loop
        layer.build(x.shape)
        own = {"kernel": layer.recurrent.get_weights()[0].astype(float)}
    _, spikes, credit, *_ = loop(
        x.astype(float), np.ones_like(x, float), **shared, **own
    )
    found, found_credit = spikes_and_credit(layer, x, 1.0)
    np.testing.assert_array_equal(found, spikes)
    np.testing.assert_allclose(found_credit, credit, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "layer",
    [
        LIF(beta=BETAS, threshold=THRESHOLDS),
        LIF(tau=[2.0, 3.0, 4.0, np.inf]),
        IF(threshold=THRESHOLDS),
        SynapticLIF(beta=BETAS, alpha=[0.1, 0.2, 0.3, 0.4]),
        ALIF(beta=BETAS),
        PLIF(threshold=THRESHOLDS),
        RecurrentLIF(beta=BETAS),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_a_config_gives_the_same_neurons(layer):
    config = layer.get_config()
    again = type(layer).from_config(config).get_config()
    assert again == config
    numbers = [config[k] for k in ("beta", "threshold") if k in config]
    assert any(map(np.ndim, numbers))


def test_time_constants_are_those_of_the_decays():
    layer = LIF(tau=[2.0, 10.0, np.inf])
    np.testing.assert_allclose(layer.beta, [np.exp(-0.5), np.exp(-0.1), 1])
    np.testing.assert_allclose(layer.tau, [2.0, 10.0, np.inf], rtol=1e-5)


def network(rule, reset="subtract"):
    """Return a network of two layers of such neurons."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((5, 4, 4, 2))
    options = {"learning_rule": rule, "reset": reset}
    x = TimeFold(keras.layers.Conv2D(4, 3, padding="same"))(inputs)
    x = LIF(beta=BETAS, threshold=0.25, **options)(x)
    x = TimeFold(keras.layers.Flatten())(x)
    x = TimeFold(keras.layers.Dense(6))(x)
    x = LIF(beta=0.5, threshold=np.linspace(0.25, 1, 6), **options)(x)
    x = TimeFold(keras.layers.Dense(3))(x)
    return snn.Model(inputs, MembraneReadout()(x))


@pytest.mark.parametrize("rule", RULES)
def test_a_network_in_one_loop_equals_layer_by_layer(rule):
    model = network(rule)
    model.remat_steps = 2 if rule == "arctan" else None
    assert model.runs_layer_by_layer is None
    layered = keras.Model(model.input, model.output)
    x = np.abs(currents_of(3, 5, 4, 4, 2))
    found = []
    for run in (model, layered):
        loss, grads = gradients(
            lambda x, run=run: ops.sum(ops.square(run(x, training=True))),
            [x],
            model.trainable_variables,
        )
        found.append([loss, *grads[1:]])
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    assert any(np.any(g) for g in found[0][1:])


def test_it_is_saved_streamed_and_recorded(tmp_path):
    model = network("arctan")
    x = np.abs(currents_of(3, 5, 4, 4, 2))
    expected = model.predict(x, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again.predict(x, verbose=0), expected)
    step = snn.streaming(model)
    state, run = step.initial_state(3), compiled(lambda *a: step(list(a)))
    for t in range(5):
        scores, *state = run(x[:, t], *state)
    np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-6)
    recording = analysis.record(model, x)
    for name, train in recording.spikes.items():
        if name in recording.potentials:
            above = recording.potentials[name] > recording.thresholds[name]
            np.testing.assert_array_equal(above, train > 0)


@pytest.mark.skipif(
    keras.config.backend() != "tensorflow", reason="the engine is TensorFlow's"
)
def test_the_engine_runs_them_in_inference_and_says_why_not_in_fit():
    model = network("collapsed")
    assert model.dense_reason() is None
    reason = model.dense_reason(training=True)
    assert "decay or threshold for each neuron" in reason


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: LIF(beta=[0.5, 1.5]), "`beta`.*all entries.*1.5"),
        (lambda: LIF(beta=[]), "`beta`.*array.*shape \\(0,\\)"),
        (lambda: LIF(beta=["a", "b"]), "`beta` must be a real number, or an"),
        (lambda: LIF(beta=[True, False]), "`beta` must be a real number, or"),
        (lambda: LIF(threshold=[1.0, 0.0]), "`threshold`.*all entries.*0.0"),
        (lambda: LIF(threshold=[np.nan]), "`threshold`.*all entries"),
        (lambda: LIF(tau=[1.0, -1.0]), "`tau`.*all entries.*-1.0"),
        (lambda: SynapticLIF(alpha=[0.5, -0.5]), "`alpha`.*all entries"),
        (lambda: PLIF(beta=[0.5, 0.6]), "`beta` must be a real number"),
        (lambda: MembraneReadout(beta=[0.5, 0.6]), "`beta` must be a real"),
        (
            lambda: LIF(beta=[0.5, 0.6])(np.zeros((1, 4, 3), "float32")),
            "`beta` of LIF.*broadcasts.*\\(3,\\).*\\(2,\\)",
        ),
        (
            lambda: LIF(threshold=THRESHOLDS)(keras.Input((4, 3))),
            "`threshold` of LIF.*broadcasts.*\\(3,\\).*\\(3, 1\\)",
        ),
        (
            lambda: SynapticLIF(alpha=[0.5, 0.6])(keras.Input((4, 3))),
            "`alpha` of SynapticLIF.*broadcasts",
        ),
    ],
)
def test_bad_arrays_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()
