"""What PLIF, ALIF, SynapticLIF and RecurrentLIF have in common."""

import functools

import keras
import numpy as np
import pytest
from keras import ops

from keras_snn.layers import ALIF, LIF, PLIF, RecurrentLIF, SynapticLIF
from tests.helpers import gradients
from tests.layers import neuron_loops

CHANNELS = 3
CASES = (
    "PLIF",
    "PLIF by channel",
    "ALIF",
    "SynapticLIF",
    "RecurrentLIF",
    "RecurrentLIF with synapses",
)


def currents_of(shape, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(0.3, 0.5, shape).astype("float32")


def kernel():
    rng = np.random.default_rng(3)
    return rng.normal(0, 0.6, (CHANNELS, CHANNELS)).astype("float32")


def make(case, reset="zero", **options):
    """Return `(layer, loop)` of one case, the layer not built yet."""
    # Scaled input is weak.
    threshold = 0.3 if case == "PLIF" else 0.7
    shared = {"threshold": threshold, "reset": reset}
    options = {**shared, **options}
    if case == "PLIF":
        layer = PLIF(0.5, scale_input=True, **options)
        loop = functools.partial(
            neuron_loops.plif_loop, decay=0.5, scale_input=True, **shared
        )
    elif case == "PLIF by channel":
        layer = PLIF(0.8, per_channel=True, **options)
        decay = np.array([0.5, 0.8, 0.95])
        loop = functools.partial(neuron_loops.plif_loop, decay=decay, **shared)
    elif case == "ALIF":
        layer = ALIF(0.9, amplitude=0.3, rho=0.8, **options)
        loop = functools.partial(
            neuron_loops.alif_loop, beta=0.9, amplitude=0.3, rho=0.8, **shared
        )
    elif case == "SynapticLIF":
        layer = SynapticLIF(0.9, alpha=0.6, **options)
        loop = functools.partial(
            neuron_loops.synaptic_loop, beta=0.9, alpha=0.6, **shared
        )
    else:
        alpha = 0.6 if "synapses" in case else 0.0
        layer = RecurrentLIF(beta=0.9, alpha=alpha, **options)
        loop = functools.partial(
            neuron_loops.recurrent_loop,
            kernel=kernel().astype(float),
            beta=0.9,
            alpha=alpha,
            **shared,
        )
    return layer, loop


def built(case, shape, **options):
    """Return `(layer, loop)` with the loop's weights in the layer."""
    layer, loop = make(case, **options)
    layer.build((None, None, *shape[2:]))
    if case == "PLIF by channel":
        decay = loop.keywords["decay"]
        layer.set_weights([np.log((1 - decay) / decay)])
    if case.startswith("RecurrentLIF"):
        layer.set_weights([kernel()])
    return layer, loop


def weighted_spikes(layer, weights):
    """Return a scalar function with another weight on every spike."""
    return lambda x: ops.sum(layer(x) * weights)


def weights_of(shape, seed=7):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


@pytest.mark.parametrize("reset", ["zero", "subtract"])
@pytest.mark.parametrize("shape", [(2, 9, 3), (2, 6, 2, 4, 3)])
@pytest.mark.parametrize("case", CASES)
def test_spikes_and_gradients_against_a_loop(case, shape, reset):
    x, g = currents_of(shape), weights_of(shape)
    layer, loop = built(case, shape, reset=reset)
    margins, spikes, to_x, to_weights = loop(x.astype(float), g.astype(float))
    # Nothing hangs on the last bit of a float32.
    assert np.abs(margins).min() > 1e-5
    assert 0.1 < spikes.mean() < 0.9
    np.testing.assert_array_equal(layer(x), spikes)
    _, found = gradients(
        weighted_spikes(layer, g), [x], layer.trainable_variables
    )
    for actual, expected in zip(found, [to_x, *to_weights], strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)
        assert np.any(expected)


@pytest.mark.parametrize("case", CASES)
def test_another_surrogate_against_its_derivative(case):
    shape = (2, 7, CHANNELS)
    x, g = currents_of(shape), weights_of(shape)
    layer, loop = built(case, shape, learning_rule="boxcar")
    margins, *_ = loop(x.astype(float), g.astype(float))
    # From no step but the last does credit come.
    g[:, :-1] = 0
    _, (to_x,) = gradients(weighted_spikes(layer, g), [x])
    last = (np.abs(margins[:, -1]) <= 0.5) * g[:, -1]
    scale = 0.5 if case == "PLIF" else 1.0
    np.testing.assert_allclose(to_x[:, -1], scale * last, rtol=1e-4)


@pytest.mark.parametrize("case", CASES)
def test_unrolled_equals_loop(case):
    shape = (2, 7, CHANNELS)
    x, g = currents_of(shape), weights_of(shape)
    results = []
    for unroll in (False, True):
        layer, _ = built(case, shape, unroll=unroll)
        results.append(
            gradients(weighted_spikes(layer, g), [x], layer.trainable_variables)
        )
    (value, found), (unrolled, same) = results
    assert value == pytest.approx(unrolled, rel=1e-5)
    for a, b in zip(found, same, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_training_under_xla_equals_eager(case):
    x = currents_of((4, 7, CHANNELS))
    weights = []
    for jit_compile in (False, True):
        layer, _ = built(case, x.shape)
        inputs = keras.Input((7, CHANNELS))
        dense = keras.layers.Dense(CHANNELS, kernel_initializer="identity")
        model = keras.Model(inputs, layer(dense(inputs)))
        model.compile("sgd", "mse", jit_compile=jit_compile)
        model.train_on_batch(x, 1 - x)
        weights.append(model.get_weights())
    for a, b in zip(*weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    assert np.any(weights[0][0] != np.eye(CHANNELS))


@pytest.mark.parametrize(
    "layer",
    [
        LIF(learning_rule="exact"),
        LIF(learning_rule="arctan"),
        PLIF(per_channel=True),
        ALIF(),
        SynapticLIF(),
        RecurrentLIF(),
    ],
)
def test_training_on_sequences_of_different_length(layer):
    dense, models = keras.layers.Dense(CHANNELS), {}
    for time_steps in (None, 7):
        inputs = keras.Input((time_steps, CHANNELS))
        models[time_steps] = keras.Model(inputs, layer(dense(inputs)))
        models[time_steps].compile(keras.optimizers.SGD(0.1), "mse")
    dense.kernel.assign(np.eye(CHANNELS))
    start = models[7].get_weights()
    x = currents_of((2, 7, CHANNELS)) + 0.5
    models[7].train_on_batch(x, 1 - x)
    expected = models[7].get_weights()
    assert np.any(start[0] != expected[0])
    models[None].train_on_batch(x[:, :5], 1 - x[:, :5])
    models[None].set_weights(start)
    # From the second length on the graph knows of none.
    models[None].train_on_batch(x, 1 - x)
    for a, b in zip(models[None].get_weights(), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_step_by_step_equals_the_whole_sequence(case):
    layer, _ = built(case, (2, 6, 3))
    x = currents_of((2, 6, 3))
    state, spikes = layer.initial_state((2, 3)), []
    for t in range(6):
        potential = np.asarray(layer.potential(x[:, t], state))
        frame, state = layer.step(x[:, t], state)
        spikes.append(np.asarray(frame))
        np.testing.assert_array_equal(
            potential > layer.threshold, spikes[-1] == 1
        )
    np.testing.assert_array_equal(np.stack(spikes, 1), layer(x))


@pytest.mark.parametrize("case", CASES)
def test_windows_equal_the_whole_sequence(case):
    shape = (2, 7, 3)
    x, g = currents_of(shape), weights_of(shape)
    layer, _ = built(case, shape)

    def in_windows(x):
        state, spikes = layer.initial_state((2, 3)), []
        for window in (x[:, :3], x[:, 3:]):
            output, state = layer.window(window, state)
            spikes.append(output)
        return ops.sum(ops.concatenate(spikes, axis=1) * g)

    whole, expected = gradients(
        weighted_spikes(layer, g), [x], layer.trainable_variables
    )
    value, found = gradients(in_windows, [x], layer.trainable_variables)
    assert value == pytest.approx(whole, rel=1e-5)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_batch_and_time_may_be_unknown(case):
    layer, loop = built(case, (None, None, 3))
    inputs = keras.Input((None, 3))
    model = keras.Model(inputs, layer(inputs))
    assert model.output_shape == (None, None, 3)
    for shape in ((1, 3, 3), (4, 5, 3)):
        x = currents_of(shape)
        _, spikes, *_ = loop(x.astype(float), 0.0 * x)
        np.testing.assert_array_equal(model(x), spikes)


@pytest.mark.parametrize("case", CASES)
def test_state_is_float32_under_mixed_precision(case):
    layer, _ = built(case, (2, 1, 3), dtype="mixed_bfloat16")
    # A half float cannot tell these from each other.
    frame = np.full((2, 3), 0.3 + 2.0**-12, "float32")
    spikes, state = layer.step(frame, layer.initial_state((2, 3)))
    assert keras.backend.standardize_dtype(spikes.dtype) == "bfloat16"
    for tensor in state:
        assert keras.backend.standardize_dtype(tensor.dtype) == "float32"
    again, windowed = layer.window(frame[:, None], layer.initial_state((2, 3)))
    assert keras.backend.standardize_dtype(again.dtype) == "bfloat16"
    for a, b in zip(state, windowed, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    assert (
        np.asarray(state[0])[0, 0]
        != np.asarray(
            layer.step(frame - 2.0**-12, layer.initial_state((2, 3)))[1][0]
        )[0, 0]
    )


@pytest.mark.parametrize("rule", ["exact", "collapsed"])
@pytest.mark.parametrize(
    "layer, reason",
    [
        (PLIF, "no derivative to the decay"),
        (ALIF, "a threshold that does not move"),
        (SynapticLIF, "currents without a memory"),
        (RecurrentLIF, "back through the feedback"),
    ],
)
def test_the_papers_rules_are_refused_with_their_reason(layer, reason, rule):
    with pytest.raises(
        ValueError, match=f'arctan". Received: learning_rule="{rule}".*{reason}'
    ):
        layer(learning_rule=rule)


@pytest.mark.parametrize("layer", [PLIF, ALIF, SynapticLIF, RecurrentLIF])
def test_bad_arguments(layer):
    with pytest.raises(ValueError, match="`threshold` must be positive"):
        layer(threshold=0)
    with pytest.raises(ValueError, match='`reset` must be "zero"'):
        layer(reset="soft")
    with pytest.raises(ValueError, match='one of "exact"'):
        layer(learning_rule="atan")
    with pytest.raises(ValueError, match=r"`beta` must lie in \(0, 1\]"):
        layer(beta=1.5)
    with pytest.raises(ValueError, match="either `beta`.*or `tau`"):
        layer(beta=0.9, tau=3)
    with pytest.raises(ValueError, match="Received: dtype int32"):
        layer()(np.ones((1, 2, 3), "int32"))
    with pytest.raises(ValueError, match="add a time axis"):
        layer()(np.ones((2, 3), "float32"))
