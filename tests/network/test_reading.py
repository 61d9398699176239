"""The one reading of a Keras model, and the one error where there is none."""

import re

import keras
import numpy as np
import pytest

import keras_snn as snn
from keras_snn.network import read
from keras_snn.study import ordinary_twin

L, S, TimeFold = keras.layers, snn.layers, snn.layers.TimeFold
TENSORFLOW = keras.config.backend() == "tensorflow"
T = 4


def dense(units, name):
    return TimeFold(L.Dense(units, name=name))


def named(nodes):
    return [x.name for x in nodes if not x.is_input]


def spikes(*shape):
    return (np.random.default_rng(0).random(shape) < 0.5).astype("float32")


# The three parts.


def with_sides():
    """Images, and two side inputs: one before the encoder, one behind."""
    images = keras.Input((6,), name="images")
    gain = keras.Input((6,), name="gain")
    side = keras.Input((2,), name="side")
    x = L.Multiply(name="scaled")([images, gain])
    x = S.RateEncoder(T, name="encoder")(x)
    x = S.LIF(name="lif")(dense(5, "dense")(x))
    x = S.MembraneReadout(name="readout")(dense(3, "scores")(x))
    hint = L.Dense(3, name="hint")(side)
    x = L.Add(name="sum")([x, hint])
    return snn.Model([images, gain, side], L.Softmax(name="softmax")(x))


def test_a_network_has_three_parts():
    network = read(with_sides())
    assert network.no_loop is None
    assert named(network.before) == ["scaled", "encoder"]
    assert named(network.loop) == ["dense", "lif", "scores", "readout"]
    # What a side input alone goes through is no part of the loop's start.
    assert named(network.after) == ["hint", "sum", "softmax"]
    assert [x.node.name for x in network.sources] == ["encoder"]
    assert [x.name for x in network.inputs] == ["images", "gain", "side"]


def test_values_know_whether_they_run_over_time():
    network = read(with_sides())
    over_time = {x.name for x in network.nodes if x.output.over_time}
    assert over_time == {"encoder", "dense", "lif", "scores"}
    frames = {x.name: x.output.frame for x in network.nodes}
    assert frames["dense"] == (5,) and frames["images"] == (6,)
    (readout,) = [x for x in network.nodes if x.name == "readout"]
    assert readout.over_time and not readout.output.over_time


def test_an_input_that_a_time_layer_takes_runs_over_time():
    inputs = keras.Input((T, 3), name="frames")
    x = L.Dropout(0.5, name="drop")(inputs)
    model = snn.Model(inputs, S.SpikeCountReadout()(S.LIF(name="lif")(x)))
    assert [x.name for x in read(model).trains()] == ["frames", "lif"]


def test_what_an_inner_model_computes_for_nobody_is_left_out():
    inner_in = keras.Input((T, 4))
    used, unused = S.LIF(name="used")(inner_in), S.LIF(name="unused")(inner_in)
    inner = keras.Model(inner_in, [used, unused])
    inputs = keras.Input((T, 4))
    first, _ = inner(inputs)
    network = read(snn.Model(inputs, S.SpikeCountReadout(name="out")(first)))
    assert named(network.nodes) == ["used", "out"]
    assert list(snn.models.spike_rates(network.model, spikes(2, T, 4))) == [
        "used"
    ]


def test_run_visits_each_node_once_in_order():
    network = read(with_sides())
    seen = []

    def visit(node, values):
        seen.append(node.name)
        assert all(x.key in values for x in node.inputs)
        return [None] * len(node.outputs)

    values = network.run({x.key: None for x in network.inputs}, visit)
    assert sorted(seen) == sorted(named(network.nodes))
    assert len(values) == len(network.nodes)


# Names.


def block(units, name=None):
    """Return a model of a layer and its neurons, whose names are taken."""
    inputs = keras.Input((None, 4))
    x = S.LIF(name="lif")(dense(units, "dense")(inputs))
    return keras.Model(inputs, x, name=name)


def names_of(*models):
    x = inputs = keras.Input((T, 4))
    for model in models:
        x = model(x)
    return named(
        read(snn.Model(inputs, S.SpikeCountReadout(name="out")(x))).nodes
    )


def test_names_of_nested_models_are_plain():
    assert names_of(block(3)) == ["dense", "lif", "out"]


def test_the_second_call_of_a_layer_has_a_name_of_its_own():
    once = block(4)
    expected = ["dense", "lif", "dense_call2", "lif_call2", "out"]
    assert names_of(once, once) == expected


def test_a_name_that_is_taken_gets_the_models():
    expected = ["dense", "lif", "back_dense", "back_lif", "out"]
    assert names_of(block(4, "front"), block(4, "back")) == expected


def test_models_of_one_name_are_numbered():
    inner = keras.Sequential([block(4, "twin")], name="deep")
    found = names_of(block(4, "first"), block(4, "twin"), inner)
    assert len(set(found)) == len(found) == 7


def test_a_model_in_a_model_in_a_model_is_read():
    sequential = keras.Sequential(
        [
            keras.Input((T, 4)),
            keras.Sequential([keras.Sequential([block(3)])]),
            S.MembraneReadout(name="out"),
        ]
    )
    assert named(read(sequential).nodes) == ["dense", "lif", "out"]
    assert read(sequential).no_loop is None


# Models that cannot be read.


@keras.saving.register_keras_serializable(package="tests")
class Hiding(L.Layer):
    """A layer with neurons in it that nobody sees."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.lif = S.LIF(name="hidden")

    def build(self, shape):
        self.lif.build(shape)

    def call(self, x):
        return self.lif(x)


class OwnCall(keras.Model):
    def __init__(self):
        super().__init__(name="own")
        self.lif, self.readout = S.LIF(), S.MembraneReadout()

    def call(self, x):
        return self.readout(self.lif(x))


def subclassed():
    model = OwnCall()
    model(spikes(1, T, 4))
    return model


def unbuilt():
    return keras.Sequential([S.LIF(), S.MembraneReadout()], name="unbuilt")


def hiding():
    inputs = keras.Input((T, 4))
    x = Hiding(name="box")(S.LIF(name="lif")(inputs))
    return snn.Model(inputs, S.MembraneReadout(name="out")(x), name="hides")


def nested_call():
    inputs = keras.Input((T, 4))
    return snn.Model(inputs, OwnCall()(inputs), name="outer")


UNREADABLE = {
    "subclassed": (subclassed, "'own' (OwnCall), which has a `call` of its"),
    "unbuilt": (unbuilt, "'unbuilt' (Sequential), which is not built"),
    "hidden neurons": (hiding, "cannot look into 'box' (Hiding)"),
    "a model's own call": (nested_call, "cannot look into 'own' (OwnCall)"),
    "no model": (lambda: "lenet", "Received: str."),
}
X = spikes(2, T, 4)
TOOLS = {
    "spike_rates": lambda m, path: snn.models.spike_rates(m, X),
    "scale_to_rate": lambda m, path: snn.models.scale_to_rate(m, X),
    "streaming": lambda m, path: snn.streaming(m),
    "record": lambda m, path: snn.analysis.record(m, X),
    "profile": lambda m, path: snn.analysis.profile(m, X),
    "latency_curve": lambda m, path: snn.analysis.latency_curve(m, X, [0, 1]),
    "to_nir": lambda m, path: snn.export.to_nir(m),
    "ordinary_twin": lambda m, path: ordinary_twin(m),
}
if TENSORFLOW:
    TOOLS |= {
        "saved_model": lambda m, path: snn.export.saved_model(m, path / "m"),
        "litert": lambda m, path: snn.export.litert(m, path / "m.tflite"),
        "onnx": lambda m, path: snn.export.onnx(m, path / "m.onnx"),
    }


@pytest.mark.parametrize("kind", UNREADABLE)
@pytest.mark.parametrize("tool", TOOLS)
def test_what_cannot_be_read_gets_the_one_error(tool, kind, tmp_path):
    make, words = UNREADABLE[kind]
    with pytest.raises(ValueError) as error:
        TOOLS[tool](make(), tmp_path)
    text = str(error.value)
    assert text.startswith(f"{tool}() ") and words in text
    # What to do instead.
    assert "keras_snn.Model(inputs, outputs)" in text or (
        "keras.Model(inputs, outputs)" in text
    )


def bidirectional():
    inputs = keras.Input((T, 4))
    x = L.Bidirectional(L.SimpleRNN(3, return_sequences=True), name="both")(
        S.LIF(name="lif")(inputs)
    )
    return snn.Model(inputs, S.MembraneReadout(name="out")(x))


def second_sequence():
    inputs = keras.Input((T, 4))
    x = S.MembraneReadout(name="first")(S.LIF(name="lif")(inputs))
    x = S.LIF(name="again")(S.RepeatEncoder(3, name="repeat")(x))
    return snn.Model(inputs, S.MembraneReadout(name="out")(x))


WITHOUT_LOOP = {
    "bidirectional": (bidirectional, "'both' (Bidirectional)"),
    "a sequence in a sequence": (second_sequence, "'again'"),
}


@pytest.mark.parametrize("kind", WITHOUT_LOOP)
@pytest.mark.parametrize("tool", ["streaming", "latency_curve"])
def test_what_runs_step_by_step_alone_names_the_layer(tool, kind, tmp_path):
    make, name = WITHOUT_LOOP[kind]
    with pytest.raises(ValueError, match=re.escape(name)):
        TOOLS[tool](make(), tmp_path)


@pytest.mark.parametrize(
    "make, words",
    [(bidirectional, "'both' (Bidirectional)"), (second_sequence, "2 spike")],
)
def test_nir_has_one_sequence_too(make, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        snn.export.to_nir(make())


@pytest.mark.parametrize("kind", WITHOUT_LOOP)
def test_layer_by_layer_they_give_keras_numbers(kind):
    model = WITHOUT_LOOP[kind][0]()
    assert WITHOUT_LOOP[kind][1] in model.runs_layer_by_layer
    plain = keras.Model(model.inputs, model.outputs)
    np.testing.assert_allclose(
        model.predict(X, verbose=0), plain.predict(X, verbose=0), atol=1e-6
    )
    lif = keras.Model(model.inputs, model.get_layer("lif").output)
    rates = snn.models.spike_rates(model, X)
    assert rates["lif"] == pytest.approx(lif.predict(X, verbose=0).mean())


# Sources of unequal T.


def sources(*lengths):
    """Return a model of several sequences, and arrays of some lengths."""
    inputs = [
        keras.Input((None, 4), name=f"in{i}") for i in range(len(lengths))
    ]
    branches = [
        S.LIF(threshold=0.5)(dense(3, f"d{i}")(x)) for i, x in enumerate(inputs)
    ]
    x = L.Add()(branches)
    model = snn.Model(inputs, S.MembraneReadout()(x))
    model.compile("sgd", snn.losses.SummedSquaredError())
    return model, [spikes(2, n, 4) for n in lengths]


RUNS = {
    "predict": lambda m, x, y: m.predict(x, verbose=0),
    "fit": lambda m, x, y: m.fit(x, y, verbose=0),
    "evaluate": lambda m, x, y: m.evaluate(x, y, verbose=0),
    "call": lambda m, x, y: m(x),
}
UNEVEN = "equally many steps|different numbers of steps"


@pytest.mark.parametrize("lengths", [(10, 25), (10, 10, 25)], ids=str)
@pytest.mark.parametrize("run", RUNS)
def test_sequences_of_unequal_length_are_refused(run, lengths, engine):
    model, x = sources(*lengths)
    with pytest.raises(ValueError, match=UNEVEN):
        RUNS[run](model, x, np.zeros((2, 3), "float32"))


@pytest.mark.skipif(not TENSORFLOW, reason="tf.data")
@pytest.mark.parametrize("lengths", [(3, 6), (3, 3, 6)], ids=str)
@pytest.mark.parametrize("run", ["predict", "fit", "evaluate"])
def test_so_are_those_whose_length_only_the_data_knows(run, lengths, engine):
    import tensorflow as tf

    model, x = sources(*lengths)
    y = np.zeros((2, 3), "float32")
    spec = tuple(tf.TensorSpec((None, None, 4)) for _ in x)
    batches = tf.data.Dataset.from_generator(
        lambda: iter([(tuple(x), y)]),
        output_signature=(spec, tf.TensorSpec((None, 3))),
    )
    with pytest.raises(
        (ValueError, tf.errors.InvalidArgumentError), match=UNEVEN
    ):
        options = {"shuffle": False} if run == "fit" else {}
        getattr(model, run)(batches, verbose=0, **options)


def test_sequences_of_equal_length_are_taken(engine):
    model, x = sources(5, 5, 5)
    plain = keras.Model(model.inputs, model.outputs)
    np.testing.assert_allclose(
        model.predict(x, verbose=0), plain.predict(x, verbose=0), atol=1e-6
    )


# A single frame without a batch axis.


def of_images():
    """Images of one channel: a frame could be a batch of rows."""
    images = keras.Input((28, 28, 1), name="images")
    x = S.RateEncoder(T, name="encoder")(images)
    x = TimeFold(L.AveragePooling2D(7, name="pool"))(x)
    x = TimeFold(L.Flatten(name="flatten"))(x)
    x = S.LIF(name="lif", threshold=0.2)(dense(5, "dense")(x))
    return snn.Model(images, S.MembraneReadout(name="out")(x), name="net")


FRAME = np.full((28, 28, 1), 0.5, "float32")
REFUSED = r"expects inputs of shape \(None, 28, 28, 1\).*the batch axis first. "
REFUSED += r"Received: shape \(28, 28, 1\). A single sample needs a batch axis"


@pytest.mark.parametrize(
    "run",
    [
        lambda m: m(FRAME),
        lambda m: m.predict_on_batch(FRAME),
        lambda m: m.predict(FRAME, verbose=0),
        lambda m: snn.models.spike_rates(m, FRAME),
        lambda m: snn.models.scale_to_rate(m, FRAME),
        lambda m: snn.analysis.record(m, FRAME),
        lambda m: snn.analysis.profile(m, FRAME),
        lambda m: snn.analysis.latency_curve(m, FRAME, np.zeros(28, int)),
    ],
    ids=[
        "call",
        "predict_on_batch",
        "predict",
        "spike_rates",
        "scale_to_rate",
        "record",
        "profile",
        "latency_curve",
    ],
)
def test_a_frame_without_batch_axis_is_refused(run):
    with pytest.raises(ValueError) as error:
        run(of_images())
    # `predict` cuts a frame into rows, and its graph knows not how many.
    text = str(error.value).replace("(None, 28, 1)", "(28, 28, 1)")
    assert re.search(REFUSED, text, re.DOTALL), text


def test_so_is_one_that_is_handed_to_a_stream():
    step = snn.streaming(of_images())
    state = step.initial_state(1)
    words = r"'step' expects inputs of shape \[\(None, 28, 28, 1\).*\[\(28, 28"
    with pytest.raises(ValueError, match=words):
        step([FRAME, *state])
    scores, *state = step([FRAME[None], *state])
    assert tuple(scores.shape) == (1, 5)


def test_a_stream_keeps_its_shape_check_when_it_is_loaded(tmp_path):
    path = tmp_path / "step.keras"
    snn.streaming(of_images()).save(path)
    step = keras.models.load_model(path)
    with pytest.raises(ValueError, match="needs a batch axis"):
        step([FRAME, *step.initial_state(1)])
