import keras
import numpy as np
import pytest

from keras_snn import layers
from keras_snn.training import Triangular, sgd


def variables_of(*names):
    return [keras.Variable([1.0, -2.0], name=name) for name in names]


def gradient_at(step, w):
    """Return some gradient with a noise that is the same each time."""
    noise = np.random.default_rng(step).normal(size=2)
    return (noise - 1 + 0.1 * w).astype("float32")


def test_nesterov_momentum_with_decay_in_the_gradient():
    """A loop as other frameworks have it, decay within the gradient.

    Both decay alike in the long run. Differences are of the decay's order
    in the few updates that the momentum remembers.
    """
    rate, momentum, decay, steps = 0.01, 0.9, 0.1, 200
    (found,) = variables_of("kernel")
    optimizer = sgd(rate, 10**6, warmup=0, weight_decay=decay)
    w, m = np.array([1.0, -2.0]), np.zeros(2)
    plain, plain_m = w, m
    for step in range(steps):
        g = gradient_at(step, w) + decay * w
        m = momentum * m + g
        w = w - rate * (g + momentum * m)
        g = gradient_at(step, plain)
        plain_m = momentum * plain_m + g
        plain = plain - rate * (g + momentum * plain_m)
        current = keras.ops.convert_to_numpy(found)
        optimizer.apply([gradient_at(step, current)], [found])
    distance = np.abs(keras.ops.convert_to_numpy(found) - w)
    assert np.all(np.abs(plain - w) > 0.2)
    assert np.all(distance < 0.05 * np.abs(plain - w))


def test_only_kernels_decay():
    names = ("kernel", "bias", "gain", "gamma", "depthwise_kernel")
    variables = variables_of(*names)
    optimizer = sgd(0.5, 10, warmup=0, momentum=0.0, weight_decay=0.1)
    optimizer.apply([np.zeros(2, "float32")] * len(names), variables)
    for w in variables:
        factor = 0.95 if "kernel" in w.name else 1.0
        np.testing.assert_allclose(w, [factor, -2 * factor], rtol=1e-6)


def model_of():
    inputs = keras.Input((3, 4))
    x = layers.TimeFold(layers.StandardizedDense(4))(inputs)
    x = layers.TimeFold(keras.layers.BatchNormalization())(x)
    x = layers.PLIF()(x)
    x = layers.TimeFold(keras.layers.Dense(2))(x)
    return keras.Model(inputs, layers.MembraneReadout()(x))


def test_the_weights_that_decay_are_the_same_in_a_loaded_model(tmp_path):
    model = model_of()
    model.compile(sgd(0.1, 10), "mean_squared_error")
    x, y = np.ones((2, 3, 4), "float32"), np.zeros((2, 2), "float32")
    model.fit(x, y, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for each in (model, loaded):
        decaying = [
            w.name
            for w in each.trainable_variables
            if each.optimizer._use_weight_decay(w)
        ]
        assert decaying == ["kernel", "kernel"]
        assert each.optimizer.nesterov
        assert each.optimizer.weight_decay == pytest.approx(5e-3)
    assert type(loaded.optimizer) is type(model.optimizer)
    loaded.fit(x, y, verbose=0)


def test_averages_of_weights():
    (w,) = variables_of("kernel")
    options = {"use_ema": True, "ema_momentum": 0.5, "momentum": 0.0}
    optimizer = sgd(1.0, 10, warmup=0, weight_decay=0, **options)
    average, value = None, np.array([1.0, -2.0])
    for step in range(3):
        optimizer.apply([np.ones(2, "float32")], [w])
        value = value - (1 - step / 10)
        average = value if average is None else (average + value) / 2
    optimizer.finalize_variable_values([w])
    np.testing.assert_allclose(w, average, rtol=1e-5)


def rates(optimizer, steps):
    (w,) = variables_of("kernel")
    optimizer.build([w])
    found = []
    for _ in range(steps):
        found.append(float(optimizer.learning_rate))
        optimizer.apply([np.zeros(2, "float32")], [w])
    return found


def test_triangular_schedule_by_default():
    triangular = Triangular(0.1, 10, 0.3)
    expected = [float(triangular(step)) for step in range(10)]
    found = rates(sgd(0.1, 10, warmup=0.3), 10)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("warmup, rising", [(0.4, 4), (0.0, 0)])
def test_cosine_schedule(warmup, rising):
    found = rates(sgd(0.2, 10, schedule="cosine", warmup=warmup), 10)
    assert 0 < found[0]
    assert found[:rising] == sorted(found[:rising])
    falling = np.arange(10 - rising) / (10 - rising)
    expected = 0.1 * (1 + np.cos(np.pi * falling))
    np.testing.assert_allclose(found[rising:], expected, rtol=1e-5)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"schedule": "step"}, '`schedule` must be one of "triangular"'),
        ({"momentum": 1.0}, r"`momentum` must lie in \[0, 1\)"),
        (
            {"weight_decay": -1e-4},
            "`weight_decay` must be finite and at least 0",
        ),
        ({"peak": -1.0}, "`peak` must be positive"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        sgd(**{"peak": 0.1, "total_steps": 10, **options})


@pytest.mark.parametrize("by_name", [True, False])
def test_what_a_user_excludes_does_not_decay_either(by_name):
    variables = variables_of("kernel", "head_kernel", "bias")
    optimizer = sgd(0.5, 10, warmup=0, momentum=0.0, weight_decay=0.1)
    given = {"var_names": ["head"]} if by_name else {"var_list": variables[1:2]}
    optimizer.exclude_from_weight_decay(**given)
    optimizer.apply([np.zeros(2, "float32")] * 3, variables)
    for w, factor in zip(variables, (0.95, 1.0, 1.0), strict=True):
        np.testing.assert_allclose(w, [factor, -2 * factor], rtol=1e-6)
