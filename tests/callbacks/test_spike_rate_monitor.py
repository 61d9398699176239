import functools
import io
import os
import pathlib
import subprocess
import sys
import warnings
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from keras import layers

import keras_snn as snn

ROOT = pathlib.Path(__file__).parents[2]
KINDS = ("spike_rate", "silent", "saturated")
LIFS = ("lif1", "lif2")

tensorflow_only = pytest.mark.skipif(
    keras.config.backend() != "tensorflow", reason="of TensorFlow"
)


def dense(units, scale=0.6, seed=0):
    uniform = keras.initializers.RandomUniform(0.0, scale, seed=seed)
    return snn.layers.TimeFold(
        layers.Dense(units, use_bias=False, kernel_initializer=uniform)
    )


def network(encoder=None, cls=snn.Model, scale=0.6, **options):
    inputs = keras.Input((6,))
    x = (encoder or snn.layers.RateEncoder(5))(inputs)
    x = snn.layers.LIF(name="lif1", **options)(dense(8, scale)(x))
    x = snn.layers.LIF(name="lif2", **options)(dense(7, scale, seed=1)(x))
    return cls(inputs, snn.layers.MembraneReadout()(dense(3)(x)))


def compiled(*args, jit_compile="auto", **options):
    model = network(*args, **options)
    model.compile(
        keras.optimizers.SGD(1e-3, momentum=0.9),
        snn.losses.SummedSquaredError(),
        jit_compile=jit_compile,
    )
    return model


def samples(count=10, seed=0):
    return np.random.default_rng(seed).random((count, 6), "float32")


def labels(count):
    return np.eye(3, dtype="float32")[np.arange(count) % 3]


def monitor(x=None, **options):
    x = samples() if x is None else x
    return snn.callbacks.SpikeRateMonitor(x, **{"warn": False, **options})


def fit(model, callbacks, epochs=2, **options):
    return model.fit(
        samples(24, seed=1),
        labels(24),
        batch_size=8,
        epochs=epochs,
        callbacks=callbacks,
        verbose=0,
        **options,
    ).history


class Weights(keras.callbacks.Callback):
    """Keeps the weights of every epoch and of every batch."""

    def __init__(self):
        super().__init__()
        self.epochs, self.batches = [], []

    def on_epoch_end(self, epoch, logs=None):
        self.epochs.append(self.model.get_weights())

    def on_train_batch_end(self, batch, logs=None):
        self.batches.append(self.model.get_weights())


@functools.cache
def spike_trains():
    model = network()
    outputs = [model.get_layer(name).output for name in LIFS]
    return model, keras.Model(model.inputs, outputs)


def recomputed(weights, x, saturated_above=0.9):
    """Return `{layer: (rates by neuron, scalars)}` from spike trains."""
    model, trains = spike_trains()
    model.set_weights(weights)
    found = {}
    for name, train in zip(LIFS, trains.predict(x, verbose=0)):
        r = train.mean(axis=(0, 1), dtype="float64")
        scalars = r.mean(), (r == 0).mean(), (r > saturated_above).mean()
        found[name] = r, dict(zip(KINDS, scalars))
    return found


class Events:
    """What TensorBoard's own reader finds in a run."""

    def __init__(self, directory):
        accumulator = pytest.importorskip(
            "tensorboard.backend.event_processing.event_accumulator"
        )
        self.reader = accumulator.EventAccumulator(
            os.fspath(directory), size_guidance={"tensors": 0}
        )
        self.reader.Reload()
        self.tags = set(self.reader.Tags()["tensors"])

    def read(self, tag):
        from tensorboard.util import tensor_util

        return {
            event.step: tensor_util.make_ndarray(event.tensor_proto)
            for event in self.reader.Tensors(tag)
        }

    def plugin(self, tag):
        return self.reader.SummaryMetadata(tag).plugin_data.plugin_name


def tags(prefix="", kinds=(*KINDS, "neuron_rates")):
    return {f"{prefix}{kind}/{name}" for kind in kinds for name in LIFS}


def test_logs_hold_what_the_spike_trains_say_after_every_epoch():
    x, weights = samples(), Weights()
    watch = monitor(x, batch_size=4, saturated_above=0.5)
    history = fit(compiled(), [watch, weights], epochs=3)
    for epoch, values in enumerate(weights.epochs):
        for name, (_, scalars) in recomputed(values, x, 0.5).items():
            for kind, value in scalars.items():
                got = history[f"{name}_{kind}"][epoch]
                assert got == pytest.approx(value, abs=1e-9)
    assert 0.1 < history["lif1_spike_rate"][0] < 0.9
    assert history["lif1_spike_rate"][0] != history["lif1_spike_rate"][2]


def test_event_files_hold_every_tag_epoch_by_epoch(tmp_path):
    x, weights = samples(), Weights()
    fit(compiled(), [monitor(x, log_dir=tmp_path), weights])
    events = Events(tmp_path / "spikes")
    assert events.tags == tags()
    for epoch, values in enumerate(weights.epochs):
        for name, (rates, scalars) in recomputed(values, x).items():
            for kind, value in scalars.items():
                got = events.read(f"{kind}/{name}")
                assert list(got) == [0, 1]
                assert got[epoch] == pytest.approx(value, rel=1e-6)
            buckets = events.read(f"neuron_rates/{name}")[epoch]
            assert buckets[:, 2].sum() == len(rates)
            assert buckets[0, 0] == pytest.approx(rates.min())
            assert buckets[-1, 1] == pytest.approx(rates.max())
    assert events.plugin("silent/lif2") == "scalars"
    assert events.plugin("neuron_rates/lif2") == "histograms"


def test_steps_are_epoch_numbers_when_training_goes_on(tmp_path):
    watch, model = monitor(log_dir=tmp_path, histograms=False), compiled()
    fit(model, [watch], epochs=2)
    fit(model, [watch], epochs=3, initial_epoch=2)
    events = Events(tmp_path / "spikes")
    assert events.tags == tags(kinds=KINDS)
    assert list(events.read("spike_rate/lif1")) == [0, 1, 2]


@pytest.mark.parametrize("monitor_first", [True, False])
def test_goes_with_tensorboard_in_either_order(tmp_path, monitor_first):
    pytest.importorskip("tensorflow")
    callbacks = [monitor(), keras.callbacks.TensorBoard(tmp_path)]
    history = fit(compiled(), callbacks[:: 1 if monitor_first else -1])
    assert history["lif2_silent"]
    spikes = Events(tmp_path / "spikes")
    assert spikes.tags == tags()
    assert list(spikes.read("spike_rate/lif2")) == [0, 1]
    train = Events(tmp_path / "train")
    assert "epoch_loss" in train.tags
    again = train.tags & {f"epoch_{n}_{k}" for n in LIFS for k in KINDS}
    assert len(again) == (6 if monitor_first else 0)
    assert not train.tags & spikes.tags


def test_every_n_batches(tmp_path):
    x, weights = samples(), Weights()
    watch = monitor(x, log_dir=tmp_path, every_n_batches=2)
    fit(compiled(), [watch, weights])
    events = Events(tmp_path / "spikes")
    assert events.tags == tags() | tags("batch_")
    for name in LIFS:
        got = events.read(f"batch_spike_rate/{name}")
        # Two epochs of three batches each.
        assert list(got) == [2, 4, 6]
        for step, value in got.items():
            _, scalars = recomputed(weights.batches[step - 1], x)[name]
            assert value == pytest.approx(scalars["spike_rate"], rel=1e-6)


def test_batches_are_listened_to_only_on_request():
    is_default = keras.src.utils.is_default
    assert is_default(monitor().on_train_batch_end)
    assert not is_default(monitor(every_n_batches=5).on_train_batch_end)


def test_rasters_show_the_first_samples(tmp_path):
    pytest.importorskip("matplotlib")
    fit(compiled(), [monitor(log_dir=tmp_path, rasters=2)], epochs=1)
    events = Events(tmp_path / "spikes")
    assert events.tags == tags() | {"raster/lif1", "raster/lif2"}
    assert events.plugin("raster/lif1") == "images"
    width, height, *images = events.read("raster/lif1")[0]
    assert (width, height) == (b"480", b"360")
    assert len(images) == 2
    assert all(png.startswith(b"\x89PNG") for png in images)


def test_a_rasters_title_stands_within_it():
    matplotlib_image = pytest.importorskip("matplotlib.image")
    drawn = []

    class File:
        def images(self, tag, images, step):
            drawn.extend(png for png, _ in images)

        def flush(self):
            pass

    watch = monitor(rasters=1)
    watch._file = File()
    name = "block3_transition_conv2_lif1"
    watch._probe = SimpleNamespace(trains=lambda x: {name: np.ones((1, 4, 9))})
    watch._draw(epoch=124)
    pixels = matplotlib_image.imread(io.BytesIO(drawn[0]))[:30, :, :3]
    assert pixels.min() < 0.5  # there is a title
    assert (pixels[:, :5] == 1).all() and (pixels[:, -5:] == 1).all()


def noisy(**options):
    keras.utils.set_random_seed(5)
    encoder = snn.layers.PoissonEncoder(5, seed=3)
    return compiled(encoder, **options)


@pytest.mark.parametrize("cls", [snn.Model, keras.Model])
def test_training_is_the_same_with_and_without(tmp_path, cls):
    plain, watched = [], []
    for found, callbacks in (
        (plain, []),
        (watched, [monitor(log_dir=tmp_path, every_n_batches=1, rasters=1)]),
    ):
        model = noisy(cls=cls)
        found.append(fit(model, callbacks)["loss"])
        found += model.get_weights() + model.optimizer.variables
        found += [v for v in model.variables if "seed" in v.path]
    assert len(plain) == len(watched)
    for a, b in zip(plain, watched):
        # Threads may add up in another order.
        a, b = np.asarray(a, "float64"), np.asarray(b, "float64")
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_layer_by_layer_gives_the_same():
    x = samples()
    model = compiled(cls=keras.Model, learning_rule="arctan")
    history = fit(model, [monitor(x)], epochs=1)
    for name, (_, scalars) in recomputed(model.get_weights(), x).items():
        for kind, value in scalars.items():
            assert history[f"{name}_{kind}"] == [pytest.approx(value)]


def test_a_layer_that_is_called_twice_counts_twice():
    lif, inputs = snn.layers.LIF(name="lif"), keras.Input((6,))
    x = lif(dense(8)(snn.layers.RateEncoder(5)(inputs)))
    x = lif(dense(7)(x))
    model = snn.Model(inputs, snn.layers.MembraneReadout()(dense(3)(x)))
    model.compile("sgd", "mse")
    history = fit(model, [monitor()], epochs=1)
    outputs = [node.output_tensors[0] for node in lif._inbound_nodes]
    trains = keras.Model(inputs, outputs).predict(samples(), verbose=0)
    for name, train in zip(("lif", "lif_call2"), trains):
        assert history[f"{name}_spike_rate"] == [pytest.approx(train.mean())]


def test_jit_compiled_training():
    x = samples()
    model = compiled(jit_compile=True)
    history = fit(model, [monitor(x)], epochs=1)
    _, scalars = recomputed(model.get_weights(), x)["lif2"]
    assert history["lif2_spike_rate"] == [pytest.approx(scalars["spike_rate"])]


def test_a_sequential_that_its_first_batch_builds():
    model = keras.Sequential(
        [snn.layers.RateEncoder(5), dense(8), snn.layers.LIF(name="lif1")]
        + [dense(3), snn.layers.MembraneReadout()]
    )
    model.compile("sgd", "mse")
    assert fit(model, [monitor()], epochs=1)["lif1_spike_rate"][0] > 0


def test_early_stopping_sees_the_rates():
    stop = keras.callbacks.EarlyStopping("lif1_silent", mode="min", patience=1)
    history = fit(compiled(), [monitor(), stop], epochs=9)
    assert 2 <= len(history["loss"]) < 9


def texts_of_monitor(caught):
    texts = [str(warning.message) for warning in caught]
    return [text for text in texts if text.startswith("Most neurons")]


def test_averages_of_no_batch_are_not_taken_for_silence():
    inputs = keras.Input((6,))
    x = dense(8)(snn.layers.RepeatEncoder(5)(inputs))
    # Their spread is far below 1, which averages begin with.
    x = snn.layers.TimeFold(layers.Rescaling(0.05))(x)
    x = snn.layers.TimeFold(layers.BatchNormalization(momentum=0.0))(x)
    x = snn.layers.LIF(learning_rule="rate", name="lif")(x)
    x = snn.layers.MembraneReadout(learning_rule="rate")(dense(3)(x))
    model = snn.Model(inputs, x)
    model.compile("sgd", "mse")
    assert snn.models.spike_rates(model, samples()) == {"lif": 0.0}
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "Most neurons")
        history = fit(model, [monitor(warn=True)], epochs=1)
    assert history["lif_silent"][0] < 0.95


def test_silent_layers_are_named_once_before_the_first_epoch():
    model = compiled(scale=1e-3)
    watch = monitor(warn=True)
    with pytest.warns(UserWarning, match="scale_to_rate.*before") as caught:
        fit(model, [watch])
    (text,) = texts_of_monitor(caught)
    assert "silent in 'lif1' (100%), 'lif2' (100%)" in text
    with warnings.catch_warnings(action="error"):
        fit(model, [watch], epochs=1)
        fit(model, [monitor()], epochs=1)


def test_a_saturated_layer_is_named_once():
    class Blow(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            model = self.model
            model.set_weights([100 + 0 * w for w in model.get_weights()])

    watch = monitor(warn=True, saturated_above=0.85)
    with pytest.warns(UserWarning, match="lower the learning rate") as caught:
        fit(compiled(), [Blow(), watch], epochs=2)
    (text,) = texts_of_monitor(caught)
    assert "Most neurons are saturated in 'lif1' (100%), 'lif2'" in text


@pytest.mark.parametrize(
    "x, message",
    [
        ("x_test", "must be a NumPy array of samples.*Received: str"),
        (np.float32(1), "NumPy array of samples.*shape \\(\\)"),
        (samples(0), "NumPy array of samples.*shape \\(0, 6\\)"),
        ([], "NumPy array of samples.*list \\(empty\\)"),
        ([[0.1, 0.2]], "NumPy array of samples.*list \\(float, float\\)"),
        ([samples(3), samples(2)], "NumPy array.*shape \\(3, 6\\)"),
    ],
)
def test_x_must_be_samples(x, message):
    with pytest.raises(ValueError, match=message):
        monitor(x)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"every_n_batches": 0}, "`every_n_batches`.*at least 1.*=0"),
        ({"every_n_batches": 1.5}, "`every_n_batches`.*an integer.*=1.5"),
        ({"rasters": -1}, "`rasters`.*at least 0.*=-1"),
        ({"rasters": 11}, "`rasters` must be at most the number of samples"),
        ({"batch_size": True}, "`batch_size`.*an integer.*=True"),
        ({"saturated_above": 1}, r"`saturated_above`.*lie in \(0, 1\).*=1.0"),
        ({"saturated_above": "9"}, "`saturated_above` must be a real number"),
    ],
)
def test_arguments_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        monitor(**options)


@pytest.mark.parametrize(
    "x", [samples()[0], samples()[:, :5], [samples(), labels(10)]]
)
def test_x_that_does_not_fit_the_model(x):
    message = r"inputs of '.*', of shape \(None, 6\), without labels"
    with pytest.raises(ValueError, match=message):
        fit(compiled(), [monitor(x)])


def test_pixels_that_are_not_scaled_are_refused():
    with pytest.raises(ValueError, match="scaled to.*uint8"):
        fit(compiled(), [monitor((255 * samples()).astype("uint8"))])


@pytest.mark.parametrize("option", ["rasters", "every_n_batches"])
def test_nowhere_to_write_to(option):
    with pytest.raises(ValueError, match=f"`{option}`.*Pass `log_dir`, or"):
        fit(compiled(), [monitor(**{option: 1})])


def test_models_without_spikes():
    inputs = keras.Input((6,))
    model = keras.Model(inputs, layers.Dense(3)(inputs))
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="keras_snn.layers.LIF or IF"):
        fit(model, [monitor()])


def test_models_that_are_not_functional():
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.layer = layers.Dense(3)

        def call(self, x):
            return self.layer(x)

    model = Own()
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="a functional model.*\\(Own\\)"):
        fit(model, [monitor()])


@pytest.mark.parametrize(
    "module, options",
    [("tensorboard", {"log_dir": "logs"}), ("matplotlib", {"rasters": 1})],
)
def test_a_missing_package_is_named_with_its_extra(
    monkeypatch, module, options
):
    extra = {"tensorboard": "tensorboard", "matplotlib": "plot"}[module]
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf'"keras-snn\[{extra}\]"'):
        monitor(**options)
    assert monitor().log_dir is None


def run(program, *args, **environment):
    result = subprocess.run(
        [sys.executable, "-c", program, *args],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr[-3000:]


DISTRIBUTED = """
import contextlib
import sys

import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
two = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(cpu, two)

import numpy as np

from tests.callbacks import test_spike_rate_monitor as t

strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


def trained(build, callbacks, within=contextlib.nullcontext):
    with strategy.scope():
        model = build()
    with within():
        history = t.fit(model, callbacks, epochs=1)
    return history, model.get_weights()


# Nine samples in batches of four: in the last one a replica gets none.
x = t.samples(9)
watch = t.monitor(x, batch_size=4, log_dir=sys.argv[1], every_n_batches=2)
_, plain = trained(t.noisy, [])
_, watched = trained(t.noisy, [watch])
np.testing.assert_equal(plain, watched)
for within in (contextlib.nullcontext, strategy.scope):
    history, weights = trained(t.compiled, [watch], within)
    for name, (_, scalars) in t.recomputed(weights, x).items():
        for kind, value in scalars.items():
            assert abs(history[f"{name}_{kind}"][-1] - value) < 1e-6
"""


@pytest.mark.slow
@tensorflow_only
def test_under_a_distribution_strategy(tmp_path):
    run(DISTRIBUTED, tmp_path)
    assert tags("batch_") <= Events(tmp_path / "spikes").tags


WITHOUT_TENSORFLOW = """
import sys


class NoTensorFlow:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "tensorflow":
            raise ImportError("this machine has no TensorFlow")


sys.meta_path.insert(0, NoTensorFlow())

from tests.callbacks import test_spike_rate_monitor as t

history = t.fit(t.compiled(), [t.monitor(log_dir=sys.argv[1], rasters=1)])
assert len(history["lif1_spike_rate"]) == 2
assert "tensorflow" not in sys.modules
"""


@pytest.mark.slow
def test_writes_on_jax_where_tensorflow_is_missing(tmp_path):
    pytest.importorskip("jax")
    run(
        WITHOUT_TENSORFLOW,
        tmp_path,
        KERAS_BACKEND="jax",
        JAX_DISABLE_MOST_OPTIMIZATIONS="1",
    )
    assert tags() < Events(tmp_path / "spikes").tags


def test_advice_for_normalized_currents_is_another():
    x = inputs = keras.Input((4, 6))
    for name, norm in (("plain", False), ("normalized", True)):
        x = snn.layers.TimeFold(keras.layers.Dense(5))(x)
        if norm:
            x = snn.layers.TimeFold(keras.layers.BatchNormalization())(x)
        x = snn.layers.LIF(threshold=1e6, name=name)(x)
    model = snn.Model(inputs, snn.layers.SpikeCountReadout()(x))
    model.compile("sgd", "mse")
    data = np.ones((4, 4, 6), "float32")
    monitor = snn.callbacks.SpikeRateMonitor(data)
    with pytest.warns(UserWarning) as found:
        model.fit(data, np.ones((4, 5)), verbose=0, callbacks=[monitor])
    texts = [str(x.message) for x in found]
    (plain,) = [x for x in texts if "'plain'" in x]
    (normalized,) = [x for x in texts if "'normalized'" in x]
    assert "scale_to_rate" in plain and "beta_initializer" not in plain
    assert "beta_initializer" in normalized
    assert "scale_to_rate" not in normalized
