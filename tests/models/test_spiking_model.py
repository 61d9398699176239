"""`keras_snn.Model` is `keras.Model` in another order of work."""

import re

import keras
import numpy as np
import pytest

import keras_snn
from keras_snn import layers, models
from keras_snn.losses import SummedSquaredError
from keras_snn.running import time_first
from tests.helpers import compiled, cosine, relative_error, untraced

RULES = ("collapsed", "exact", "arctan")


def network(
    rule="collapsed", time_steps=11, dropout=0.0, middle=None, seed=0, top=True
):
    """Return the inputs and outputs of a small network of every kind."""
    inputs = keras.Input((time_steps, 6, 6, 1))
    x = layers.TimeFold(keras.layers.Conv2D(3, 3, use_bias=False))(inputs)
    if middle is not None:
        x = layers.TimeFold(middle)(x)
    x = layers.LIF(beta=0.9, learning_rule=rule, name="lif1")(x)
    if dropout:
        x = layers.TimeConstantDropout(dropout, seed=seed)(x)
    x = layers.TimeFold(keras.layers.AveragePooling2D(2))(x)
    x = layers.IF(threshold=0.75, learning_rule=rule, name="if1")(x)
    x = layers.TimeFold(keras.layers.Flatten())(x)
    x = layers.TimeFold(keras.layers.Dense(5, use_bias=False))(x)
    x = layers.LIF(beta=0.9, learning_rule=rule, name="lif2")(x)
    if top:
        x = layers.TimeFold(keras.layers.Dense(3, use_bias=False))(x)
        x = layers.MembraneReadout(beta=0.9, learning_rule=rule)(x)
    return inputs, x


def data(time_steps=11, samples=4, seed=0):
    rng = np.random.default_rng(seed)
    spikes = rng.random((samples, time_steps, 6, 6, 1)) < 0.6
    labels = np.eye(3, dtype="float32")[rng.integers(0, 3, samples)]
    return spikes.astype("float32"), labels


def with_weights(model, seed=0):
    """Give a model weights with which all of its layers fire."""
    rng = np.random.default_rng(seed)
    for w in model.trainable_variables:
        if len(w.shape) == 1:
            w.assign_add(0.5 * np.ones(w.shape))
            continue
        fan_in = np.prod(w.shape[:-1])
        w.assign(rng.normal(0.2, 1.5 / np.sqrt(fan_in), w.shape))
    return model


def both(**kwargs):
    """Return the same network as keras_snn.Model and as keras.Model."""
    pair = []
    for kind in (keras_snn.Model, keras.Model):
        model = with_weights(kind(*network(**kwargs)))
        model.compile(keras.optimizers.SGD(0.05), SummedSquaredError())
        pair.append(untraced(model))
    return pair


def fit_one_step(model, x, labels):
    """Return how one step of `fit` moves the weights, and its loss."""
    before = [np.asarray(w) for w in model.trainable_variables]
    history = untraced(model).fit(x, labels, len(x), verbose=0, shuffle=False)
    after = [np.asarray(w) for w in model.trainable_variables]
    return [b - a for a, b in zip(before, after)], history.history["loss"][0]


@pytest.mark.parametrize("rule", RULES)
def test_predict_equals_keras_model(rule, engine):
    model, plain = both(rule=rule)
    x, labels = data()
    outputs = model.predict(x, batch_size=4, verbose=0)
    expected = plain.predict(x, batch_size=4, verbose=0)
    np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-6)
    assert np.any(outputs)
    assert model.evaluate(x, labels, verbose=0) == pytest.approx(
        plain.evaluate(x, labels, verbose=0), rel=1e-5
    )


@pytest.mark.parametrize(
    "case",
    [
        *({"rule": rule} for rule in RULES),
        *({"time_steps": time_steps} for time_steps in (1, 8, 17)),
        {"dropout": 0.4},
        {"middle": keras.layers.ZeroPadding2D(1)},
    ],
    ids=lambda case: "-".join(f"{k}={v}"[:15] for k, v in case.items()),
)
def test_one_step_of_fit_equals_keras_models(case, engine):
    model, plain = both(**case)
    x, labels = data(case.get("time_steps", 11))
    moves, loss = fit_one_step(model, x, labels)
    expected, plain_loss = fit_one_step(plain, x, labels)
    assert loss == pytest.approx(plain_loss, rel=1e-5)
    for move, same in zip(moves, expected, strict=True):
        assert relative_error(move, same) < 1e-4


@pytest.mark.parametrize(
    "rule, remat_steps, case",
    [
        ("arctan", 4, {}),
        ("arctan", 11, {"dropout": 0.4}),
        ("arctan", 1, {"time_steps": 3}),
        ("triangle", 5, {"middle": keras.layers.MaxPooling2D(1)}),
    ],
    ids=lambda x: str(x)[:15],
)
def test_windows_through_time_equal_keras_models(rule, remat_steps, case):
    check_windows(rule, remat_steps, case)


@pytest.mark.parametrize(
    "case",
    [
        {"time_steps": 17, "dropout": 0.4},
        {"time_steps": 1},
        {"middle": keras.layers.MaxPooling2D(1)},
        {"middle": keras.layers.ReLU()},
    ],
    ids=lambda x: str(x)[:15],
)
def test_windows_of_the_exact_rule_equal_keras_models(case, engine):
    check_windows("exact", None, case)


def check_windows(rule, remat_steps, case):
    model, plain = both(rule=rule, **case)
    model.remat_steps = remat_steps
    assert model.runs_layer_by_layer is None
    x, labels = data(case.get("time_steps", 11))
    moves, loss = fit_one_step(model, x, labels)
    expected, plain_loss = fit_one_step(plain, x, labels)
    assert loss == pytest.approx(plain_loss, rel=1e-5)
    for move, same in zip(moves, expected, strict=True):
        assert np.any(same)
        assert relative_error(move, same) < 1e-4


@pytest.mark.parametrize("rule", ["collapsed", "exact"])
def test_credit_flows_through_the_weights_from_before_the_update(rule, engine):
    def trained(cls):
        inputs = keras.Input((5, 6))
        x = layers.TimeFold(keras.layers.Dense(8))(inputs)
        x = layers.LIF(threshold=0.3, learning_rule=rule)(x)
        x = layers.TimeFold(keras.layers.Dense(3))(x)
        model = with_weights(cls(inputs, layers.MembraneReadout()(x)))
        model.compile(keras.optimizers.SGD(0.1), SummedSquaredError())
        untraced(model).train_on_batch(rates, labels)
        return model.get_weights()

    rates = np.random.default_rng(0).random((4, 5, 6), "float32")
    labels = np.eye(3, dtype="float32")[[0, 1, 2, 0]]
    expected = trained(keras.Model)
    # Where the order is left open, it is right most of the time.
    for _ in range(10):
        for a, b in zip(expected, trained(keras_snn.Model), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_a_spike_count_learns_in_windows_too():
    for rule in ("exact", "arctan"):
        for normalize in (True, False):
            inputs, x = network(rule, top=False)
            outputs = layers.SpikeCountReadout(normalize=normalize)(x)
            moves = []
            for kind in (keras_snn.Model, keras.Model):
                model = with_weights(kind(inputs, outputs))
                model.compile(keras.optimizers.SGD(0.05), "mse")
                if kind is keras_snn.Model:
                    model.remat_steps = 3
                    assert model.runs_layer_by_layer is None
                labels = np.ones((4, 5), "float32")
                moves.append(fit_one_step(model, data()[0], labels)[0])
            for move, same in zip(*moves, strict=True):
                assert np.any(same)
                assert relative_error(move, same) < 1e-4


def test_remat_steps_are_saved_and_checked(tmp_path):
    model = keras_snn.Model(*network("arctan"), remat_steps=4)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.remat_steps == 4
    loaded.remat_steps = None
    assert "`remat_steps` is not set" in loaded.runs_layer_by_layer
    for wrong in (0, 2.5, True):
        with pytest.raises(ValueError, match="positive integer"):
            loaded.remat_steps = wrong


def test_dropout_draws_anew_at_every_step_of_fit():
    model, _ = both(dropout=0.5)
    model.optimizer.learning_rate = 0.0
    x, labels = data()
    losses = [fit_one_step(model, x, labels)[1] for _ in range(4)]
    assert len(set(losses)) > 1


def with_sequence_output():
    return network(top=False)


def mixed_rules():
    inputs, x = network("exact", top=False)
    x = layers.LIF(learning_rule="collapsed")(x)
    return inputs, layers.SpikeCountReadout()(x)


def with_keras_rnn():
    inputs, x = network(top=False)
    return inputs, keras.layers.LSTM(3)(x)


@pytest.mark.parametrize(
    "parts, reason",
    [
        (network("arctan"), r"'lif1' learns by Arctan\(alpha=2.0\)"),
        (
            network(middle=keras.layers.MaxPooling2D(2)),
            r"'max_pool.*' \(MaxPooling2D\) is not linear",
        ),
        (
            network(middle=keras.layers.Dense(3, activation="relu")),
            r"\(Dense\) is not linear",
        ),
        (mixed_rules(), "learn by different rules"),
        (
            network("exact", middle=keras.layers.BatchNormalization()),
            "works on all steps together",
        ),
        (with_sequence_output(), "returns the sequence of 'lif2'"),
        (with_keras_rnn(), r"\(LSTM\) works on the whole sequence"),
    ],
    ids=[
        "surrogate",
        "max",
        "relu",
        "mixed",
        "norm",
        "sequence",
        "rnn",
    ],
)
def test_tells_why_it_runs_layer_by_layer(parts, reason):
    assert keras_snn.Model(*network()).runs_layer_by_layer is None
    assert re.search(reason, keras_snn.Model(*parts).runs_layer_by_layer)


@pytest.mark.parametrize(
    "middle",
    [keras.layers.MaxPooling2D, keras.layers.ReLU],
    ids=lambda x: x.__name__,
)
def test_trains_layer_by_layer_where_no_loop_fits(middle):
    pair = []
    for kind in (keras_snn.Model, keras.Model):
        inner = middle() if middle is keras.layers.ReLU else middle(1)
        model = with_weights(kind(*network(middle=inner)))
        model.compile(keras.optimizers.SGD(0.05), SummedSquaredError())
        pair.append(fit_one_step(model, *data()))
    for move, expected in zip(pair[0][0], pair[1][0], strict=True):
        assert np.any(expected)
        assert relative_error(move, expected) < 1e-4


def test_keras_file_keeps_the_class_and_the_outputs(tmp_path):
    model, _ = both()
    x, labels = data()
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert type(loaded) is keras_snn.Model
    assert loaded.runs_layer_by_layer is None
    np.testing.assert_allclose(
        loaded.predict(x, verbose=0), model.predict(x, verbose=0), rtol=1e-6
    )
    moves, _ = fit_one_step(loaded, x, labels)
    for move, expected in zip(moves, fit_one_step(model, x, labels)[0]):
        assert relative_error(move, expected) < 1e-5


def test_one_model_takes_any_number_of_steps():
    model, plain = both(time_steps=None)
    for time_steps in (1, 7, 9):
        x, _ = data(time_steps)
        np.testing.assert_allclose(
            model.predict(x, verbose=0),
            plain.predict(x, verbose=0),
            rtol=1e-4,
            atol=1e-6,
        )
    x, labels = data(9)
    moves, _ = fit_one_step(model, x, labels)
    for move, expected in zip(moves, fit_one_step(plain, x, labels)[0]):
        assert relative_error(move, expected) < 1e-4


def test_a_builder_without_top_is_a_backbone():
    pair = []
    for kind in (keras_snn.Model, keras.Model):
        backbone = models.LeNet(
            include_top=False,
            input_shape=(8, 8, 1),
            time_steps=5,
            encoder=None,
            width=1 / 10,
        )
        images = keras.Input((8, 8, 1))
        x = layers.RateEncoder(time_steps=5)(images)
        x = layers.TimeFold(keras.layers.Flatten())(backbone(x))
        x = layers.TimeFold(keras.layers.Dense(3, use_bias=False))(x)
        model = with_weights(kind(images, layers.MembraneReadout()(x)))
        model.compile(keras.optimizers.SGD(0.05), SummedSquaredError())
        pair.append(model)
    x = np.random.default_rng(0).random((4, 8, 8, 1)).astype("float32")
    labels = np.eye(3, dtype="float32")[[0, 1, 2, 0]]
    outputs, expected = (model.predict(x, verbose=0) for model in pair)
    np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-6)
    moves, expected = (fit_one_step(model, x, labels)[0] for model in pair)
    for move, same in zip(moves, expected, strict=True):
        assert np.any(same)
        assert relative_error(move, same) < 1e-4


def test_layers_before_the_encoder_and_after_the_readout_learn_too():
    pair = []
    for kind in (keras_snn.Model, keras.Model):
        inputs = keras.Input((6,))
        x = keras.layers.Dense(8)(inputs)
        x = layers.RepeatEncoder(time_steps=7)(x)
        x = layers.TimeFold(keras.layers.Dense(5))(x)
        x = layers.LIF(beta=0.9)(x)
        x = layers.SpikeCountReadout()(x)
        outputs = keras.layers.Dense(3, activation="softmax")(x)
        model = with_weights(kind(inputs, outputs))
        model.compile(keras.optimizers.SGD(0.5), "categorical_crossentropy")
        x = np.random.default_rng(1).random((4, 6)).astype("float32")
        pair.append(fit_one_step(model, x, np.eye(3)[[0, 1, 2, 0]]))
    assert pair[0][1] == pytest.approx(pair[1][1], rel=1e-5)
    for move, expected in zip(pair[0][0], pair[1][0], strict=True):
        assert np.any(expected)
        assert relative_error(move, expected) < 1e-4


def training_shapes(model, x, labels):
    """Return the shapes, and the operations, of a traced training step."""
    if keras.config.backend() == "tensorflow":
        return _tensorflow_shapes(model, x, labels)
    return _jax_shapes(model, x, labels)


def _tensorflow_shapes(model, x, labels):
    def step(x, labels):
        return model.train_step((x, labels))

    model.optimizer.build(model.trainable_variables)
    graph = compiled(step).get_concrete_function(x, labels).graph
    graph = graph.as_graph_def(add_shapes=True)
    functions = [graph.node, *(f.node_def for f in graph.library.function)]
    nodes = [node for function in functions for node in function]
    shapes = [
        tuple(axis.size for axis in shape.dim)
        for node in nodes
        for shape in node.attr["_output_shapes"].list.shape
    ]
    return shapes, {node.op for node in nodes}


def _jax_shapes(model, x, labels):
    import jax

    def loss(values, seeds, x):
        mapping = [
            *zip(model.trainable_variables, values),
            *zip(model.non_trainable_variables, seeds),
        ]
        with keras.StatelessScope(state_mapping=mapping):
            return model.compute_loss(x, labels, model(x, training=True))

    jaxpr = jax.make_jaxpr(jax.grad(loss))(
        [v.value for v in model.trainable_variables],
        [v.value for v in model.non_trainable_variables],
        x,
    )
    shapes, operations = [], set()

    def visit(jaxpr):
        for equation in jaxpr.eqns:
            operations.add(equation.primitive.name)
            shapes.extend(tuple(v.aval.shape) for v in equation.outvars)
            for value in jax.tree.leaves(
                list(equation.params.values()),
                is_leaf=lambda p: hasattr(p, "jaxpr") or hasattr(p, "eqns"),
            ):
                inner = getattr(value, "jaxpr", value)
                if hasattr(inner, "eqns"):
                    visit(inner)

    visit(jaxpr.jaxpr)
    return shapes, operations


@pytest.mark.parametrize(
    "rule, grows", [("collapsed", False), ("arctan", True)]
)
def test_memory_of_fit_does_not_grow_with_time(rule, grows, engine):
    # No other axis is a multiple of 13, so nothing but the encoder's spikes
    # may have such an axis (time folded into the batch counts, too). Nor may
    # a loop push its steps on a list.
    time_steps, x = 13, np.full((2, 8, 8, 1), 0.5, "float32")
    model = models.LeNet(
        input_shape=(8, 8, 1),
        time_steps=time_steps,
        learning_rule=rule,
        width=1 / 4,
        seed=0,
    )
    model.compile("sgd", SummedSquaredError())
    labels = np.eye(10, dtype="float32")[:2]
    shapes, operations = training_shapes(model, x, labels)
    large = {
        shape
        for shape in shapes
        if any(n > 0 and n % time_steps == 0 for n in shape)
        and abs(np.prod(shape)) > x.size * time_steps
    }
    lists = {name for name in operations if "TensorList" in name}
    assert len(shapes) > 100
    assert bool(large or lists) is grows, (large, lists)


def test_spike_rates_equal_the_means_of_the_layers_spikes():
    model, _ = both()
    x, _ = data(samples=6)
    rates = models.spike_rates(model, x, batch_size=4)
    trains = keras.Model(
        model.input, [model.get_layer(name).output for name in rates]
    )(x)
    assert list(rates) == ["lif1", "if1", "lif2"]
    for train, rate in zip(trains, rates.values()):
        assert 0 < rate < 1
        assert rate == pytest.approx(np.asarray(train).mean(), rel=1e-5)


@pytest.mark.parametrize(
    "rule, remat_steps", [("collapsed", None), ("exact", None), ("arctan", 4)]
)
def test_mixed_bfloat16_learns_as_float32_does(
    rule, remat_steps, mixed_bfloat16
):
    # What passes between layers has eight bits of precision.
    moves = []
    for policy in ("mixed_bfloat16", "float32"):
        keras.config.set_dtype_policy(policy)
        model = with_weights(keras_snn.Model(*network(rule, dropout=0.2)))
        model.remat_steps = remat_steps
        model.compile(keras.optimizers.SGD(0.05), SummedSquaredError())
        assert model.runs_layer_by_layer is None
        moves.append(fit_one_step(model, *data())[0])
    for move, expected in zip(*moves, strict=True):
        assert move.dtype == "float32"
        # Rounding moves a spike now and then.
        assert cosine(move, expected) > 0.9
        assert np.any(move != expected)


def test_state_is_float32_under_mixed_bfloat16(mixed_bfloat16):
    model = keras_snn.Model(*network())
    x, _ = data()
    inputs = keras.ops.convert_to_tensor(x)
    statistics, _ = time_first.count_spikes(model.network, inputs)
    step = keras_snn.streaming(model)
    _, *state = step([x[:, 0], *step.initial_state(4)])
    kept = [*state, *keras.tree.flatten(statistics)]
    assert len(kept) > 8
    for tensor in kept:
        assert keras.backend.standardize_dtype(tensor.dtype) == "float32"


def test_a_frozen_layer_does_not_change_the_form():
    model = keras_snn.Model(*network("exact"))
    for layer in model.layers:
        layer.trainable = not isinstance(layer, layers.TimeFold)
    assert (
        keras_snn.Model(model.input, model.output).runs_layer_by_layer is None
    )


def test_what_sees_whole_sequences_runs_layer_by_layer():
    inputs, x = network(top=False)
    l1 = keras.regularizers.L1(0.1)
    x = layers.LIF(activity_regularizer=l1)(x)
    pair = []
    for kind in (keras_snn.Model, keras.Model):
        model = with_weights(kind(inputs, layers.SpikeCountReadout()(x)))
        model.compile(keras.optimizers.SGD(0.05), "mse")
        pair.append(fit_one_step(model, data()[0], np.ones((4, 5)))[1])
        if kind is keras_snn.Model:
            assert "activity regularizer" in model.runs_layer_by_layer
    assert pair[0] == pytest.approx(pair[1], rel=1e-5)
    assert pair[0] > 1


def test_sequences_of_different_length_run_layer_by_layer():
    images = keras.Input((6,))
    parts = [
        layers.SpikeCountReadout()(layers.RateEncoder(steps)(images))
        for steps in (5, 9)
    ]
    outputs = keras.layers.Concatenate()(parts)
    model = keras_snn.Model(images, outputs)
    assert "different numbers of steps, 5, 9" in model.runs_layer_by_layer
    x = np.random.default_rng(0).random((3, 6)).astype("float32")
    expected = keras.Model(images, outputs).predict(x, verbose=0)
    np.testing.assert_allclose(model.predict(x, verbose=0), expected)


def test_a_list_of_one_output_is_unpacked_as_in_keras():
    inputs, x = network()
    model, plain = (k(inputs, [x]) for k in (keras_snn.Model, keras.Model))
    spikes, _ = data()
    outputs, expected = (m.predict(spikes, verbose=0) for m in (model, plain))
    assert type(outputs) is type(expected)
    np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-6)


def test_unknown_time_after_a_layer_before_the_loop_trains():
    inputs = keras.Input((None, 6))
    x = keras.layers.Rescaling(2.0)(inputs)
    x = layers.TimeFold(keras.layers.Dense(4))(x)
    x = layers.LIF(learning_rule="exact")(x)
    model = keras_snn.Model(inputs, layers.SpikeCountReadout()(x))
    model.compile("sgd", "mse")
    spikes = np.ones((4, 5, 6), "float32")
    assert np.isfinite(fit_one_step(model, spikes, np.ones((4, 4)))[1])


def test_integer_pixels_that_the_model_scales_are_taken():
    images = keras.Input((6,), dtype="uint8")
    x = keras.layers.Rescaling(1 / 255)(images)
    x = layers.RateEncoder(5)(x)
    model = keras_snn.Model(images, layers.SpikeCountReadout()(x))
    pixels = np.uint8([[0, 51, 102, 153, 204, 255]])
    np.testing.assert_allclose(
        model.predict(pixels, verbose=0), pixels / 255, atol=1e-6
    )


def test_model_without_outputs_says_what_is_expected():
    with pytest.raises(ValueError, match="symbolic inputs and outputs"):
        keras_snn.Model()
