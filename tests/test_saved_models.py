"""The committed networks do what their cards say."""

import gzip
import json
import pathlib
import zipfile

import keras
import numpy as np
import pytest

import keras_snn as snn
from benchmarks import int8
from tests.helpers import SHARED

LENET = pathlib.Path(__file__).parents[1] / "saved_models" / "lenet_mnist.keras"


def test_lenet_is_small():
    assert LENET.stat().st_size <= 3e6
    assert LENET.with_suffix(".md").exists()


def test_lenet_loads_as_model_and_as_weights():
    loaded = keras.models.load_model(LENET)
    built = snn.models.LeNet(weights=LENET)
    assert type(loaded) is snn.Model
    for a, b in zip(loaded.get_weights(), built.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("weights", [LENET, "mnist"])
def test_lenet_classifies_mnist(weights):
    folder = SHARED / "data" / "mnist"
    if not folder.exists():
        pytest.skip(f"MNIST is not at {folder}")
    images = gzip.decompress(
        (folder / "t10k-images-idx3-ubyte.gz").read_bytes()
    )
    labels = gzip.decompress(
        (folder / "t10k-labels-idx1-ubyte.gz").read_bytes()
    )
    x = np.frombuffer(images, np.uint8, offset=16).reshape(-1, 28, 28, 1)
    y = np.frombuffer(labels, np.uint8, offset=8)
    x, y = x[:1000].astype("float32") / 255, y[:1000]
    model = snn.models.LeNet(weights=weights, seed=0)
    scores = model.predict(x, batch_size=250, verbose=0)
    # 99.4 % on all; three standard errors of 1,000 images are 0.7 points.
    assert np.mean(scores.argmax(-1) == y) >= 0.985


@pytest.mark.parametrize(
    "name, weights, accuracy",
    [
        ("SpikingCNN", "cifar10", 0.907),
        ("VGG8", "cifar10", 0.917),
        ("VGG8", "cifar10_sparse", 0.902),
    ],
)
def test_networks_classify_cifar10(name, weights, accuracy):
    image = pytest.importorskip("PIL.Image")
    folder = SHARED / "data" / "cifar10"
    if not folder.exists():
        pytest.skip(f"CIFAR-10 is not at {folder}")
    # 100 rows of 100 images each.
    grid = np.asarray(image.open(folder / "test_batch.webp").convert("RGB"))
    x = grid.reshape(100, 32, 100, 32, 3).swapaxes(1, 2).reshape(-1, 32, 32, 3)
    y = np.load(folder / "test_labels.npy")
    info = snn.datasets.info("cifar10")
    x = (x[:1000] / 255 - np.array(info.mean)) / np.array(info.std)
    x, y = x.astype("float32"), y[:1000]
    model = getattr(snn.models, name)(weights=weights)
    scores = model.predict(x, batch_size=250, verbose=0)
    # On all of them; three standard errors of 1,000 images are 2.8 points.
    assert np.mean(scores.argmax(-1) == y) >= accuracy - 0.028


def test_vgg8_begins_with_what_vgg9_has_learned():
    from benchmarks.recipes import vgg8_start

    begun = vgg8_start.begun()
    trained = snn.models.VGG9(weights=vgg8_start.VGG9)
    shared = len(begun.weights) - 1
    for ours, theirs in zip(
        begun.get_weights()[:shared], trained.get_weights()[:shared]
    ):
        np.testing.assert_array_equal(ours, theirs)
    assert "predictions" in begun.trainable_weights[-1].path


def test_lenet_classifies_recordings(tmp_path):
    archive = SHARED / "data" / "nmnist" / "nmnist_small.zip"
    if not archive.exists():
        pytest.skip(f"N-MNIST is not at {archive}")
    with zipfile.ZipFile(archive) as files:
        files.extractall(tmp_path)
    test = snn.datasets.events.recordings("nmnist", "test", tmp_path)
    frames = [
        snn.datasets.events.to_frames(x, (34, 34), time_steps=15, window=20_000)
        for x in test
    ]
    model = snn.models.LeNet(weights="nmnist")
    scores = model.predict(np.stack(frames), verbose=0)
    # What its card says.
    told = snn.models.pretrained.find("LeNet", "nmnist")["result"]["test"]
    right = scores.argmax(-1) == test.labels.argmax(-1)
    assert {"right": int(right.sum()), "of": len(right)} == told


@pytest.mark.parametrize("weights", ["cifar10", "cifar10_sparse"])
@pytest.mark.parametrize("name", ["SpikingCNN", "VGG8"])
def test_what_is_told_of_networks_is_what_was_measured(name, weights):
    root = pathlib.Path(__file__).parents[1] / "benchmarks/results/accuracy"
    path = root / f"{name.lower()}_{weights}.json"
    measured = json.loads(path.read_text("utf-8"))["published"]
    entry = snn.models.pretrained.find(name, weights)
    assert entry["result"] == measured


def accuracies():
    """Return what README and pages may say of each result."""
    root = pathlib.Path(__file__).parents[1] / "benchmarks/results/accuracy"
    names = "spikingcnn", "vgg8", "vgg9", "resnet11"
    for name in (f"{x}_cifar10" for x in names):
        measured = json.loads((root / f"{name}.json").read_text("utf-8"))
        yield f"{100 * measured['published']['test_accuracy']:.1f} %"


def test_accuracies_told_are_those_measured():
    root = pathlib.Path(__file__).parents[1]
    for page in ("README.md", "benchmarks/README.md", "docs/few_steps.md"):
        text = (root / page).read_text("utf-8")
        assert [x for x in accuracies() if x not in text] == [], page
    path = root / "benchmarks/results/accuracy/lenet_mnist.json"
    seeds = json.loads(path.read_text("utf-8"))["published"]["seeds"].values()
    mean = 100 * sum(seeds) / len(seeds)
    readme = (root / "README.md").read_text("utf-8")
    assert f"LeNet, mean of {len(seeds)} seeds | {mean:.1f} % " in readme
    path = root / "benchmarks/results/accuracy/vgg8_cifar10_sparse.json"
    found = json.loads(path.read_text("utf-8"))["published"]
    told = (
        f'"cifar10_sparse"` {100 * found["test_accuracy"]:.1f} % at a rate of'
    )
    words = " ".join(readme.split())
    assert f"{told} {100 * found['mean_rate']:.1f} %" in words
    path = root / "benchmarks/results/accuracy/lenet_nmnist.json"
    found = json.loads(path.read_text("utf-8"))["published"]
    share = f"{100 * found['test_accuracy']:.1f} %"
    assert f"LeNet, {found['images']} recordings | {share} " in readme


def test_what_is_told_of_int8_is_what_was_measured():
    results = json.loads(int8.RESULT.read_text("utf-8"))
    assert list(results) == list(int8.NETWORKS)
    for name, result in results.items():
        card = (int8.SAVED / f"{name}.md").read_text("utf-8")
        assert int8.with_row(card, result) == card, name
    page = int8.PAGE.read_text("utf-8")
    assert int8.filled(page, results) == page
