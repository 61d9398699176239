"""`.keras` files: what comes back, and what bad ones are told."""

import keras
import numpy as np
import pytest

import keras_snn as snn
from keras_snn.models import files
from keras_snn.training import evaluate
from tests.export.small_networks import images, lenet


@keras.saving.register_keras_serializable(package="test_keras_files")
class Cauchy(snn.surrogates.Surrogate):
    """A user's own surrogate, `1 / (1 + (scale x)^2)`."""

    parameter = "scale"

    def __init__(self, scale=2.0):
        super().__init__(scale)

    def derivative(self, x):
        return 1.0 / (1.0 + keras.ops.square(self.scale * x))


def network(rule):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((5, 6))
    x = snn.layers.TimeFold(keras.layers.Dense(8))(inputs)
    x = snn.layers.LIF(threshold=0.3, learning_rule=rule)(x)
    x = snn.layers.TimeFold(keras.layers.Dense(3))(x)
    outputs = snn.layers.MembraneReadout(learning_rule=rule)(x)
    return keras.Model(inputs, outputs)


RULES = {
    "collapsed": "collapsed",
    "exact": "exact",
    "named": "triangle",
    "parameter": snn.surrogates.FastSigmoid(slope=7.0),
    "own": Cauchy(scale=3.0),
}


def test_a_model_keeps_its_remat_steps(tmp_path):
    model = network("arctan")
    model = snn.Model(model.input, model.output, remat_steps=2)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert type(again) is snn.Model
    assert again.remat_steps == 2


MODELS = {
    "Model": lambda model: snn.Model(model.inputs, model.outputs),
    "StepModel": snn.streaming,
    "StatefulModel": lambda model: snn.stateful(model, batch_size=2),
}


@pytest.mark.parametrize("suffix", [".h5", ".hdf5"])
@pytest.mark.parametrize("kind", MODELS)
def test_hdf5_would_lose_the_type_of_a_model(kind, suffix, tmp_path):
    model, path = MODELS[kind](network("arctan")), tmp_path / f"model{suffix}"
    with pytest.raises(ValueError, match=rf"\({kind}\).*ends in \.keras"):
        model.save(path)
    assert not path.exists()


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_a_model_learns_on_by_the_rule_it_was_saved_with(tmp_path, rule):
    model = network(rule)
    x = np.random.default_rng(0).random((4, 5, 6), "float32")
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    before = model.get_weights()
    for one in (model, again):
        one.compile("sgd", snn.losses.SummedSquaredError())
        one.train_on_batch(x, np.eye(3)[[0, 1, 2, 0]])
    assert any(np.any(v != w) for v, w in zip(before, model.get_weights()))
    for v, w in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_allclose(v, w, atol=1e-6)


def quantized():
    keras.utils.set_random_seed(0)
    ann = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(4, 3, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(10),
        ]
    )
    return snn.conversion.quantize(ann, 4, images(16))


def test_quantized_and_converted_networks_come_back(tmp_path):
    before = quantized()
    after = snn.conversion.convert(before, None, "qcfs", time_steps=4)
    for model in (before, after):
        model.save(tmp_path / "model.keras")
        again = keras.models.load_model(tmp_path / "model.keras")
        assert type(again) is type(model)
        np.testing.assert_allclose(
            again.predict(images(2), verbose=0),
            model.predict(images(2), verbose=0),
            atol=1e-6,
        )


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    path = tmp_path_factory.mktemp("good") / "good.keras"
    lenet(encoder="rate", time_steps=3).save(path)
    return path


def rewritten(good, path, change):
    """Write the archive again, its parts changed: bytes, or None to drop."""
    import zipfile

    with zipfile.ZipFile(good) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            content = change(name, old.read(name))
            if content is not None:
                new.writestr(name, content)


def half(part):
    return lambda name, x: x[: len(x) // 2] if name == part else x


def without(part):
    return lambda name, x: None if name == part else x


ARCHIVES = {
    "weights cut off": (half("model.weights.h5"), "no whole HDF5 file"),
    "config cut off": (half("config.json"), "config.json is no JSON"),
    "no config": (without("config.json"), "archive without config.json"),
    "no weights": (without("model.weights.h5"), "without model.weights.h5"),
}
BYTES = {
    "empty": (lambda x: b"", "no zip archive"),
    "foreign": (lambda x: b"GIF89a" + bytes(99), "no zip archive"),
    "cut off": (lambda x: x[: len(x) // 2], "the end of it is missing"),
    "one byte wrong": (
        lambda x: b"".join([x[:5000], bytes([x[5000] ^ 255]), x[5001:]]),
        "is damaged",
    ),
}


@pytest.fixture(params=[*ARCHIVES, *BYTES])
def bad(request, good, tmp_path):
    """A bad file, and what is said about it."""
    path = tmp_path / "bad.keras"
    if request.param in ARCHIVES:
        change, message = ARCHIVES[request.param]
        rewritten(good, path, change)
    else:
        change, message = BYTES[request.param]
        path.write_bytes(change(good.read_bytes()))
    return path, message


def test_a_bad_file_builds_no_model(bad):
    path, message = bad
    with pytest.raises(ValueError, match=message) as error:
        snn.models.load_model(path)
    assert "Expected a `.keras` file" in str(error.value)
    with pytest.raises(ValueError, match=message):
        files.load_weights(keras.Sequential(), path)
    # Keras' own function says less, but half a model does not come out of it.
    with pytest.raises(Exception):
        keras.models.load_model(path)


def test_weights_of_another_network_are_refused(good, tmp_path):
    wider = lenet(encoder="rate", time_steps=3, width=0.4)
    with pytest.raises(ValueError, match="not hold the weights .*`width`"):
        files.load_weights(wider, good)
    (tmp_path / "cut.weights.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(99))
    with pytest.raises(ValueError, match="no whole HDF5 file"):
        files.load_weights(wider, tmp_path / "cut.weights.h5")


def test_a_class_that_is_not_known_is_named(tmp_path, monkeypatch):
    network(Cauchy()).save(tmp_path / "model.keras")
    registry = keras.saving.get_custom_objects()
    monkeypatch.delitem(registry, "test_keras_files>Cauchy")
    monkeypatch.delattr("tests.export.test_keras_files.Cauchy")
    with pytest.raises(ValueError, match="'Cauchy'.*register_keras_serial"):
        snn.models.load_model(tmp_path / "model.keras")


def test_a_good_file_comes_back_whole(good):
    model = snn.models.load_model(good)
    copy = lenet(encoder="rate", time_steps=3, seed=5)
    files.load_weights(copy, good)
    for v, w in zip(model.get_weights(), copy.get_weights(), strict=True):
        np.testing.assert_array_equal(v, w)


def test_builders_and_the_command_line_say_so_too(bad):
    path, message = bad
    with pytest.raises(ValueError, match=message):
        lenet(encoder="rate", time_steps=3, weights=path)
    with pytest.raises(ValueError, match=message):
        evaluate(path, "digits")
