"""Networks of a file, run without Keras, against the ones in Keras."""

import concurrent.futures
import io
import json
import os
import pathlib
import pickle
import subprocess
import sys
import textwrap
import zipfile

import keras
import numpy as np
import pytest

import keras_snn as snn

pytest.importorskip("numba")
import keras_snn_runtime  # noqa: E402

ROOT = pathlib.Path(__file__).parents[2]
TimeFold, L = snn.layers.TimeFold, keras.layers


def images(shape, samples=9, seed=0):
    rng = np.random.default_rng(seed)
    return rng.uniform(-1, 1, (samples, *shape)).astype("float32")


def exported(model, tmp_path):
    path = tmp_path / "net.npz"
    snn.export.runtime(model, path)
    return keras_snn_runtime.load(path)


def lenet(**given):
    options = {"input_shape": (10, 12, 2), "width": 0.2, "time_steps": 6}
    model = snn.models.LeNet(seed=1, **{**options, **given})
    shape = [6 if n is None else n for n in model.input.shape[1:]]
    if "norm" not in given:
        snn.models.scale_to_rate(model, images(shape))
    return model


def small(*layers, shape=(8, 6, 3), time_steps=5, readout=None):
    x = keras.Input((time_steps, *shape))
    y = x
    for layer in layers:
        is_ours = isinstance(layer, snn.layers.LIF | snn.layers.IF)
        y = (layer if is_ours else TimeFold(layer))(y)
    readout = readout or snn.layers.MembraneReadout(beta=0.8)
    return snn.Model(x, readout(y))


MODELS = {
    "repeat": lambda: lenet(encoder="repeat"),
    "rate": lambda: lenet(encoder="rate"),
    "latency": lambda: lenet(encoder="latency"),
    "sequence": lambda: lenet(encoder=None),
    "batch norm": lambda: lenet(norm="batch"),
    "weight norm": lambda: lenet(norm="weight"),
    "residual": lambda: snn.models.ResNet7(width=1 / 16, seed=2),
    "residual, paper": lambda: snn.models.ResNet7(
        width=1 / 16, seed=2, norm="none", encoder="rate", time_steps=6
    ),
    "compact": lambda: snn.models.SpikingCNN(width=1 / 8, seed=3),
    "pooled": lambda: small(
        L.ZeroPadding2D(1),
        L.Conv2D(5, 3, strides=2),
        L.MaxPooling2D(2),
        snn.layers.IF(threshold=0.4, reset="subtract"),
        L.Conv2D(4, 1),
        L.GlobalAveragePooling2D(),
        L.Dense(3),
    ),
    "pixels": lambda: small(
        snn.layers.LIF(threshold=0.1),
        L.Dense(16),
        L.AveragePooling2D(2),
        L.Flatten(),
        L.Dense(3),
    ),
    "means of frames": lambda: small(
        snn.layers.LIF(threshold=0.1),
        L.Conv2D(4, 3, padding="same"),
        L.GlobalAveragePooling2D(),
        shape=(4, 4, 2),
    ),
    "windows beyond the frame": lambda: small(
        L.ZeroPadding2D(((1, 4), (3, 3))),
        L.Conv2D(3, 3),
        snn.layers.LIF(threshold=0.1),
        L.ZeroPadding2D(1),
        L.Conv2D(3, 1),
        snn.layers.LIF(threshold=0.1),
        L.ZeroPadding2D(((0, 5), (2, 4))),
        L.DepthwiseConv2D(3, strides=2),
        L.Flatten(),
        L.Dense(3),
    ),
    "vectors": lambda: small(
        L.Dense(40, bias_initializer="normal"),
        snn.layers.LIF(beta=0.7, threshold=0.3, initial_potential=0.1),
        L.Dense(7),
        snn.layers.LIF(threshold=0.1),
        shape=(11,),
        readout=snn.layers.SpikeCountReadout(normalize=False),
    ),
    "lines": lambda: small(
        L.Conv1D(33, 3, padding="same"),
        snn.layers.LIF(threshold=0.2),
        L.AveragePooling1D(2),
        L.Flatten(),
        L.Dense(4),
        shape=(12, 3),
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_scores_rates_and_streams_are_those_of_keras(name, tmp_path):
    model = MODELS[name]()
    shape = [6 if n is None else n for n in model.input.shape[1:]]
    x = images(shape)
    network = exported(model, tmp_path)
    expected = model.predict(x, verbose=0)
    scores = network.predict(x)
    np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-5)
    for one in range(3):
        np.testing.assert_array_equal(
            network.predict(x[one : one + 1])[0], scores[one]
        )
    rates = list(snn.models.spike_rates(model, x).values())
    np.testing.assert_allclose(network.spike_rates(x), rates, atol=1e-4)
    assert max(rates) > 0.01
    if network.encoder is None:
        stream = network.stream()
        for _ in range(2):
            for frame in x[0]:
                last = stream.step(frame)
            np.testing.assert_allclose(last, scores[0], rtol=1e-5, atol=1e-6)
            stream.reset()


def test_what_is_the_same_at_all_steps_is_computed_once(tmp_path, monkeypatch):
    network = exported(lenet(encoder="repeat"), tmp_path)
    kernels, calls = keras_snn_runtime.operations.kernels, []
    convolve = kernels.convolve

    def counted(*arguments):
        calls.append(arguments)
        return convolve(*arguments)

    monkeypatch.setattr(kernels, "convolve", counted)
    network.threads = 1
    network.predict(images((10, 12, 2), 3))
    frames = sum(given[-1] for given in calls)
    assert frames == 3 * (1 + network.time_steps)


def test_a_stream_is_the_model_on_the_frames_so_far(tmp_path):
    model = lenet(encoder=None, time_steps=None)
    network = exported(model, tmp_path)
    stream, x = network.stream(), images((9, 10, 12, 2), 1)
    for t in range(9):
        scores = stream.step(x[0, t])
        expected = model.predict(x[:, : t + 1], verbose=0)[0]
        np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-6)
    assert stream.steps == 9


def test_a_network_without_a_file_is_the_one_of_a_file(tmp_path):
    model, x = lenet(encoder="repeat"), images((10, 12, 2))
    written, direct = exported(model, tmp_path), snn.export.runtime(model)
    np.testing.assert_array_equal(direct.predict(x), written.predict(x))
    a, b = direct.stream(), written.stream()
    np.testing.assert_array_equal(a.step(x[0]), b.step(x[0]))


def test_one_sample_after_the_other_and_several_at_once():
    network = snn.export.runtime(lenet(encoder="repeat"))
    x = images((10, 12, 2))
    expected = network.predict(x)
    network = pickle.loads(pickle.dumps(network))
    one = [x[i : i + 1] for i in range(9)]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        found = [network.predict(y) for y in one]
        found += pool.map(network.predict, one)
    network = pickle.loads(pickle.dumps(network))
    network.threads = 1
    found += [network.predict(y) for y in one]
    np.testing.assert_array_equal(
        np.concatenate(found), np.tile(expected, (3, 1))
    )


def test_events_are_frames_of_counts(tmp_path):
    network = exported(lenet(encoder=None), tmp_path)
    by_event, by_frame = network.stream(), network.stream()
    rng = np.random.default_rng(0)
    for count in (0, 30, 1, 0, 200):
        x, y, c = (rng.integers(0, n, count) for n in (12, 10, 2))
        frame = np.zeros((10, 12, 2), "float32")
        np.add.at(frame, (y, x, c), 1)
        np.testing.assert_array_equal(
            by_event.step_events(x, y, c), by_frame.step(frame)
        )


def test_what_is_no_number_comes_out(tmp_path):
    x = images((6, 10, 12, 2))
    x[1, 2, 3, 4, 0] = np.nan
    network = exported(lenet(encoder=None), tmp_path)
    scores = network.predict(x)
    assert np.isnan(scores[1]).all() and np.isfinite(scores[0]).all()
    stream = network.stream()
    for frame in x[1]:
        scores = stream.step(frame)
    assert np.isnan(scores).all()
    stream.reset()
    assert np.isfinite(stream.step(x[0, 0])).all()


def test_poisson_noise_has_the_encoder_s_rate(tmp_path):
    network = exported(lenet(encoder="poisson", time_steps=50), tmp_path)
    x = images((10, 12, 2), 40)
    spikes = keras_snn_runtime.network.encoded(x, network.encoder, 50, seed=1)
    most = network.encoder["max_rate"]
    np.testing.assert_allclose(spikes.mean(1), most * x, atol=0.35)
    assert abs((spikes.mean(1) - most * x).mean()) < 0.01
    same = network.predict(x, seed=3) == network.predict(x, seed=3)
    assert same.all()


def doubled_outputs():
    model = lenet()
    return keras.Model(model.input, [model.output, model.output])


@pytest.mark.parametrize(
    "model, message",
    [
        (lambda: snn.Model(*soft()), "has scores before or behind"),
        (doubled_outputs, "one input and one output"),
        (
            lambda: small(L.Dense(3), L.ReLU(), L.Dense(2), shape=(4,)),
            "does not run event by event: .*ReLU",
        ),
    ],
)
def test_what_the_runtime_cannot_run_is_not_exported(model, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        snn.export.runtime(model(), tmp_path / "net.npz")
    assert not list(tmp_path.iterdir())


def soft():
    model = lenet()
    return model.input, L.Softmax(name="scores")(model.output)


@pytest.mark.parametrize(
    "x, message",
    [
        (np.zeros((2, 6, 10, 12, 3), "float32"), "takes floats .samples, time"),
        (np.zeros((2, 6, 10, 12, 2), "uint8"), "Received: uint8"),
        (np.zeros((2, 5, 10, 12, 2), "float32"), "takes 6 time steps"),
    ],
)
def test_other_inputs_are_refused(x, message, tmp_path):
    network = exported(lenet(encoder=None), tmp_path)
    with pytest.raises(ValueError, match=message):
        network.predict(x)


@pytest.mark.parametrize(
    "events, message",
    [
        (([12], [0], [0]), "`x` must be .* 0..11"),
        (([0], [-1], [0]), "`y` must be"),
        (([0], [0], [2]), "`channel` must be"),
        (([0.5], [0], [0]), "`x` must be"),
        (([0, 1], [0], [0]), "of one length"),
    ],
)
def test_events_beyond_the_frame_are_refused(events, message, tmp_path):
    stream = exported(lenet(encoder=None), tmp_path).stream()
    with pytest.raises(ValueError, match=message):
        stream.step_events(*events)
    with pytest.raises(ValueError, match="`frame` must be"):
        stream.step(np.zeros((10, 12), "float32"))


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    path = tmp_path_factory.mktemp("file") / "net.npz"
    snn.export.runtime(lenet(width=0.05), path)
    return path.read_bytes()


def test_files_that_are_cut_off_are_refused(content, tmp_path):
    path = tmp_path / "net.npz"
    for part in range(50):
        path.write_bytes(content[: len(content) * part // 50])
        with pytest.raises(ValueError, match="is no network of keras_snn_run"):
            keras_snn_runtime.load(path)


def test_flipped_bits_are_refused_or_change_nothing(content, tmp_path):
    path = tmp_path / "net.npz"
    path.write_bytes(content)
    x = images((10, 12, 2), 2)
    expected = keras_snn_runtime.load(path).predict(x, seed=0)
    rng, refused = np.random.default_rng(0), 0
    for _ in range(200):
        flipped = bytearray(content)
        flipped[rng.integers(len(content))] ^= 1 << rng.integers(8)
        path.write_bytes(flipped)
        try:
            scores = keras_snn_runtime.load(path).predict(x, seed=0)
        except ValueError:
            refused += 1
            continue
        np.testing.assert_array_equal(scores, expected)
    assert refused > 150


def changed(content, change):
    """Return a file whose description was changed, its checksums right."""
    result = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        with zipfile.ZipFile(result, "w") as target:
            for name in archive.namelist():
                data = archive.read(name)
                if name == "network.json":
                    description = json.loads(data)
                    change(description)
                    data = json.dumps(description)
                target.writestr(name, data)
    return result.getvalue()


def check_refused(content, change, folder):
    path = folder / "net.npz"
    path.write_bytes(changed(content, change))
    with pytest.raises(ValueError, match="is no network of keras_snn_runtime"):
        keras_snn_runtime.load(path)


def first(description, name):
    return next(x for x in description["operations"] if x["operation"] == name)


HOSTILE = {
    "format": lambda d: d.update(format="other"),
    "version": lambda d: d.update(version=3),
    "steps": lambda d: d.update(time_steps=-1),
    "encoder": lambda d: d.update(encoder={"name": "os.system"}),
    "kind": lambda d: first(d, "Neurons").update(operation="Mask"),
    "kernel": lambda d: first(d, "Convolution").update(kernel="weight9"),
    "larger frame": lambda d: first(d, "Convolution").update(shape=[99, 9, 1]),
    "more channels": lambda d: first(d, "Convolution").update(shape=[6, 8, 64]),
    "strides": lambda d: first(d, "Convolution").update(strides=[0, 1]),
    "huge strides": lambda d: first(d, "Convolution").update(
        strides=[2**40, 1]
    ),
    "huge zeros": lambda d: first(d, "Convolution").update(before=[0, 2**40]),
    "negative zeros": lambda d: first(d, "Convolution").update(before=[-9, 0]),
    "pooling": lambda d: first(d, "Pooling").update(size=[50, 50]),
    "huge": lambda d: first(d, "Source").update(shape=[10**6, 10**6, 2]),
    "beta": lambda d: first(d, "Neurons").update(beta=7.0),
    "threshold": lambda d: first(d, "Neurons").update(threshold="a"),
    "text": lambda d: first(d, "Neurons").update(shape="abc"),
    "unknown source": lambda d: first(d, "Neurons").update(source=77),
    "no readout": lambda d: d["operations"].pop(),
    "nothing": lambda d: d.update(operations=[]),
    "extra field": lambda d: first(d, "Neurons").update(more=1),
}


def test_nothing_is_overwritten_unless_asked(tmp_path):
    path = tmp_path / "deep" / "net.npz"
    snn.export.runtime(MODELS["vectors"](), path)
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match="overwrite=True"):
        snn.export.runtime(MODELS["lines"](), path)
    assert path.read_bytes() == before
    snn.export.runtime(MODELS["lines"](), path, overwrite=True)
    assert keras_snn_runtime.load(path).input_shape == (12, 3)
    with pytest.raises(ValueError, match="must be a path"):
        snn.export.runtime(MODELS["lines"](), 3)
    with pytest.raises(ValueError, match="must end in '.npz'"):
        snn.export.runtime(MODELS["lines"](), tmp_path / "net")


def test_what_would_not_be_read_is_not_written(tmp_path, monkeypatch):
    from keras_snn_runtime import files

    monkeypatch.setattr(files, "LARGEST", 100)
    with pytest.raises(ValueError, match="numbers in its frames. Nothing is"):
        snn.export.runtime(MODELS["lines"](), tmp_path / "net.npz")
    assert not list(tmp_path.iterdir())


def test_frames_of_other_axes_take_no_events():
    stream = snn.export.runtime(MODELS["lines"]()).stream()
    with pytest.raises(ValueError, match=r"\(row, column, channel\)"):
        stream.step_events([1], [0], [0])
    assert stream.steps == 0


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_descriptions_are_refused(name, content, tmp_path):
    check_refused(content, HOSTILE[name], tmp_path)


def without_scales(description):
    for operation in description["operations"]:
        operation.pop("scales", None)


def test_files_of_before_int8_are_read(content, tmp_path):
    paths = tmp_path / "before.npz", tmp_path / "now.npz"
    paths[0].write_bytes(changed(content, without_scales))
    paths[1].write_bytes(content)
    x = images((10, 12, 2), 2)
    found = [keras_snn_runtime.load(y).predict(x, seed=0) for y in paths]
    np.testing.assert_array_equal(*found)


def test_weights_begin_at_lines_of_the_cache(content, tmp_path):
    path = tmp_path / "net.npz"
    path.write_bytes(content)
    for x in keras_snn_runtime.load(path).arrays.values():
        assert x.ctypes.data % 64 == 0


def test_pickles_and_bombs_are_refused(content, tmp_path):
    path = tmp_path / "net.npz"
    np.savez(path, weight0=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="no network"):
        keras_snn_runtime.load(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("network.json", b" " * 10_000_000)
    with pytest.raises(ValueError, match="not stored plainly"):
        keras_snn_runtime.load(path)
    with pytest.raises(FileNotFoundError):
        keras_snn_runtime.load(tmp_path / "none.npz")


def test_it_runs_where_there_is_no_keras(tmp_path):
    model = lenet(encoder="repeat")
    path, x = tmp_path / "net.npz", images((10, 12, 2))
    snn.export.runtime(model, path)
    np.save(tmp_path / "x.npy", x)
    program = f"""
        import sys

        class Blocked:
            def find_spec(self, name, path=None, target=None):
                if name.split(".")[0] in ("keras", "tensorflow", "keras_snn"):
                    raise ImportError(name)

        sys.meta_path.insert(0, Blocked())
        import numpy as np, keras_snn_runtime
        network = keras_snn_runtime.load({str(path)!r})
        scores = network.predict(np.load({str(tmp_path / "x.npy")!r}))
        np.save({str(tmp_path / "y.npy")!r}, scores)
    """
    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], check=True, cwd=ROOT
    )
    np.testing.assert_allclose(
        np.load(tmp_path / "y.npy"), model.predict(x, verbose=0), atol=1e-5
    )


@pytest.mark.slow
def test_numba_may_compile_for_less_than_the_processor(tmp_path):
    """Vectors are chosen by what is compiled for, not by what there is."""
    network = exported(lenet(encoder="repeat"), tmp_path)
    x = images((10, 12, 2))
    np.save(tmp_path / "x.npy", x)
    code = """
        import sys
        import numpy as np
        import keras_snn_runtime
        folder = sys.argv[1]
        network = keras_snn_runtime.load(folder + "/net.npz")
        np.save(folder + "/y.npy", network.predict(np.load(folder + "/x.npy")))
    """
    chosen = {"NUMBA_CPU_NAME": "generic", "NUMBA_CACHE_DIR": str(tmp_path)}
    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(tmp_path)],
        env={**os.environ, **chosen},
        cwd=ROOT,
        check=True,
    )
    found = np.load(tmp_path / "y.npy")
    np.testing.assert_allclose(found, network.predict(x), rtol=1e-5, atol=1e-6)
