"""Trained weights that come with the package."""

import hashlib
import io
import json
import pathlib
import shutil

import numpy as np
import pytest

import keras_snn as snn
from keras_snn.models import pretrained

ROOT = pathlib.Path(__file__).parents[2]
ALL = [(b, d) for b, sets in pretrained.index().items() for d in sets]
MEGABYTE = 2**20


@pytest.mark.parametrize("builder, dataset", ALL)
def test_each_is_small_whole_and_described(builder, dataset):
    entry = pretrained.find(builder, dataset)
    path = pretrained.FOLDER / entry["file"]
    assert path.stat().st_size <= 6 * MEGABYTE
    assert hashlib.sha256(path.read_bytes()).hexdigest() == entry["sha256"]
    assert f'`"{dataset}"`' in getattr(snn.models, builder).__doc__
    assert pretrained.builder_of(dataset) is not None


def test_all_together_fit_into_a_small_wheel():
    files = list(pretrained.FOLDER.iterdir())
    assert sum(x.stat().st_size for x in files) <= 18 * MEGABYTE
    listed = {pretrained.find(*pair)["file"] for pair in ALL}
    assert {x.name for x in files} == {*listed, "index.json"}


@pytest.mark.parametrize("builder, dataset", ALL)
def test_a_network_with_weights_is_the_one_without_and_them(builder, dataset):
    model = getattr(snn.models, builder)(weights=dataset)
    entry = pretrained.find(builder, dataset)
    with np.load(pretrained.FOLDER / entry["file"]) as archive:
        arrays = [archive[name] for name in sorted(archive.files)]
    for ours, theirs in zip(model.get_weights(), arrays, strict=True):
        np.testing.assert_array_equal(ours, theirs.astype("float32"))
    bare = getattr(snn.models, builder)(weights=dataset, include_top=False)
    for ours, theirs in zip(bare.get_weights(), arrays):
        np.testing.assert_array_equal(ours, theirs.astype("float32"))
    assert len(bare.weights) < len(arrays)


@pytest.mark.parametrize(
    "path", sorted((ROOT / "saved_models").glob("*.npz")), ids=lambda x: x.stem
)
def test_larger_ones_are_read_from_their_file(path):
    name = {x.lower(): x for x in dir(snn.models)}[path.stem.split("_")[0]]
    model = getattr(snn.models, name)(weights=path)
    with np.load(path) as archive:
        arrays = [archive[key] for key in sorted(archive.files)]
    for ours, theirs in zip(model.get_weights(), arrays, strict=True):
        np.testing.assert_array_equal(ours, theirs.astype("float32"))


def test_files_of_weights_that_do_not_fit_are_refused(tmp_path):
    path = tmp_path / "vgg5.npz"
    pretrained.write(path, snn.models.VGG5(width=1 / 32, seed=3))
    model = snn.models.VGG5(width=1 / 32, weights=path)
    content = path.read_bytes()
    with pytest.raises(ValueError, match="expects the shapes.* Received: "):
        snn.models.VGG5(width=1 / 16, weights=path)
    with pytest.raises(ValueError, match="expects the shapes"):
        snn.models.VGG9(width=1 / 32, weights=path)
    for size in (0, 10, len(content) // 2, len(content) - 30):
        path.write_bytes(content[:size])
        with pytest.raises(ValueError, match="holds no weights"):
            snn.models.VGG5(width=1 / 32, weights=path)
    arrays = dict(np.load(io.BytesIO(content)))
    np.savez(path, **arrays, more=np.zeros((3, 3)))
    with pytest.raises(ValueError, match=r"\(3, 3\).* Received: no more"):
        snn.models.VGG5(width=1 / 32, weights=path)
    path.write_bytes(content)
    bottom = snn.models.VGG5(width=1 / 32, weights=path, include_top=False)
    for ours, theirs in zip(bottom.get_weights(), model.get_weights()):
        np.testing.assert_array_equal(ours, theirs)
    np.savez(path, a=np.array([None]))
    with pytest.raises(ValueError, match="holds no weights"):
        snn.models.VGG5(width=1 / 32, weights=path)
    assert model.count_params() > 0


@pytest.mark.parametrize(
    "given, message",
    [
        ({"width": 0.3}, "has width=1.0. Received: width=0.3"),
        ({"classes": 7}, "has classes=10. Received: classes=7"),
        ({"norm": "none"}, "has norm='batch'"),
        ({"input_shape": (20, 20, 1)}, "Received: .* for 'fc1.*kernel'"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        snn.models.LeNet(weights="mnist", **given)


def test_steps_encoder_and_rule_are_free():
    model = snn.models.LeNet(
        weights="mnist", time_steps=7, encoder="rate", learning_rule="rate"
    )
    assert model.get_layer("encoder").time_steps == 7


def test_a_damaged_file_is_refused(tmp_path, monkeypatch):
    for path in pretrained.FOLDER.iterdir():
        shutil.copy(path, tmp_path)
    monkeypatch.setattr(pretrained, "FOLDER", tmp_path)
    path = tmp_path / "lenet_mnist.npz"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ValueError, match="another checksum. Install"):
        snn.models.LeNet(weights="mnist")


def test_saving_writes_what_loading_reads(tmp_path, monkeypatch):
    model = snn.models.VGG5(width=1 / 32, seed=3)
    result = {"test_accuracy": 0.5}
    pretrained.save(
        "VGG5", "made", model, {"width": 1 / 32}, result, folder=tmp_path
    )
    monkeypatch.setattr(pretrained, "FOLDER", tmp_path)
    monkeypatch.setattr(pretrained, "INDEX", tmp_path / "index.json")
    pretrained.index.cache_clear()
    try:
        again = snn.models.VGG5(weights="made")
        assert pretrained.find("VGG5", "made")["result"] == result
    finally:
        monkeypatch.undo()
        pretrained.index.cache_clear()
    for ours, theirs in zip(again.get_weights(), model.get_weights()):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-6)
    assert json.loads((tmp_path / "index.json").read_text())


def test_evaluation_by_the_name_of_the_data_set(monkeypatch):
    rng = np.random.default_rng(0)
    data = rng.random((8, 28, 28, 1), "float32"), np.eye(10)[:8]
    monkeypatch.setattr(snn.datasets, "load", lambda *_, **__: (data, data))
    result = snn.training.evaluate("mnist", batch_size=8)
    assert (result["dataset"], result["time_steps"]) == ("mnist", 4)


def test_numbers_that_float16_has_not_stay_float32(tmp_path):
    model = snn.models.VGG5(width=1 / 32, seed=3)
    weights = model.get_weights()
    weights[0][0, 0, 0, 0] = 1e6
    model.set_weights(weights)
    pretrained.write(tmp_path / "vgg5.npz", model)
    again = snn.models.VGG5(width=1 / 32, weights=tmp_path / "vgg5.npz")
    assert again.get_weights()[0][0, 0, 0, 0] == 1e6
