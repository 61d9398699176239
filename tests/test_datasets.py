"""Data sets: raw files -> prepared directory -> arrays and pipelines."""

import ast
import gzip
import os
import pathlib
import pickle
import shutil
import socket
import struct
import sys

import numpy as np
import pytest

from keras_snn import datasets
from keras_snn.datasets import cifar_python, importing, prepared
from keras_snn.datasets.augmentation import random_crop, random_flip

ROOT = pathlib.Path(__file__).resolve().parents[1]
SHARED_DATA = pathlib.Path(
    os.environ.get("KERAS_SNN_TEST_DATA", ROOT.parent / "shared" / "data")
)
COUNTS = {"train": 10, "test": 4}
COARSE = 3  # The superclass all tiny CIFAR-100 images get.


# Tiny raw files of every kind ----------------------------------------------


def tiny_arrays(name):
    """Random `{split: (uint8 images, labels)}`, the largest label included."""
    info = datasets.info(name)
    random = np.random.default_rng(0)
    arrays = {}
    for split, count in COUNTS.items():
        images = random.integers(0, 256, (count, *info.input_shape), "uint8")
        labels = random.integers(0, info.classes, count)
        labels[:2] = 0, info.classes - 1
        arrays[split] = images, labels
    return arrays


def idx_bytes(array):
    header = struct.pack(f">I{array.ndim}I", 0x800 + array.ndim, *array.shape)
    return header + array.astype("uint8").tobytes()


def write_idx(folder, arrays, separator="-", compress=False):
    for split, prefix in (("train", "train"), ("test", "t10k")):
        images, labels = arrays[split]
        for part, array in (
            (f"images{separator}idx3", images[..., 0]),
            (f"labels{separator}idx1", labels),
        ):
            content, ending = idx_bytes(array), ""
            if compress:
                content, ending = gzip.compress(content), ".gz"
            path = folder / f"{prefix}-{part}-ubyte{ending}"
            path.write_bytes(content)


def write_idx_dot(folder, arrays):
    write_idx(folder, arrays, separator=".")


def write_idx_gz(folder, arrays):
    write_idx(folder, arrays, compress=True)


def cifar_batches(arrays):
    """The batches of CIFAR-10: `(name, images, labels)`, five for training."""
    images, labels = arrays["train"]
    for i in range(5):
        part = slice(2 * i, 2 * i + 2)
        yield f"data_batch_{i + 1}", images[part], labels[part]
    yield "test_batch", *arrays["test"]


def planes(images):
    return np.concatenate(
        [images[..., c].reshape(len(images), -1) for c in range(3)], axis=1
    )


def write_cifar10_binary(folder, arrays):
    for name, images, labels in cifar_batches(arrays):
        records = [
            bytes([label]) + row.tobytes()
            for label, row in zip(labels, planes(images), strict=True)
        ]
        (folder / f"{name}.bin").write_bytes(b"".join(records))
    names = "".join(f"name{i}\n" for i in range(10))
    (folder / "batches.meta.txt").write_text(names)


def write_cifar100_binary(folder, arrays):
    for split, (images, labels) in arrays.items():
        records = [
            bytes([COARSE, label]) + row.tobytes()
            for label, row in zip(labels, planes(images), strict=True)
        ]
        (folder / f"{split}.bin").write_bytes(b"".join(records))
    for kind, count in (("fine", 100), ("coarse", 20)):
        names = "\n".join(f"name{i}" for i in range(count))
        (folder / f"{kind}_label_names.txt").write_text(names)


def python2_batch(images, labels):
    """A pickle as Python 2 and NumPy 1 wrote the published batches."""
    data = planes(images).tobytes()
    return (
        b"\x80\x02}(U\x06labels("
        + b"".join(b"K" + bytes([label]) for label in labels)
        + b"lU\x04datacnumpy.core.multiarray\n_reconstruct\n"
        + b"cnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01K"
        + bytes([len(images)])
        + b"M\x00\x0c\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNN"
        + b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T"
        + struct.pack("<I", len(data))
        + data
        + b"tbu."
    )


def write_cifar10_python2(folder, arrays):
    for name, images, labels in cifar_batches(arrays):
        (folder / name).write_bytes(python2_batch(images, labels.tolist()))
    meta = {b"label_names": [b"name%d" % i for i in range(10)]}
    (folder / "batches.meta").write_bytes(pickle.dumps(meta, 2))


def write_cifar10_python3(folder, arrays):
    for name, images, labels in cifar_batches(arrays):
        batch = {b"data": planes(images), b"labels": labels.tolist()}
        (folder / name).write_bytes(pickle.dumps(batch, 5))
    meta = {b"label_names": [b"name%d" % i for i in range(10)]}
    (folder / "batches.meta").write_bytes(pickle.dumps(meta))


def write_cifar100_python(folder, arrays, coarse=lambda n: [COARSE] * n):
    for split, (images, labels) in arrays.items():
        batch = {
            b"data": planes(images),
            b"fine_labels": labels.tolist(),
            b"coarse_labels": coarse(len(labels)),
        }
        (folder / split).write_bytes(pickle.dumps(batch, 2))
    meta = {
        b"fine_label_names": [b"name%d" % i for i in range(100)],
        b"coarse_label_names": [b"name%d" % i for i in range(20)],
    }
    (folder / "meta").write_bytes(pickle.dumps(meta, 2))


def write_webp(folder, arrays):
    from PIL import Image

    for name, images, _ in cifar_batches(arrays):
        # Two tiles a row, filled row by row.
        rows = [np.hstack(images[i : i + 2]) for i in range(0, len(images), 2)]
        grid = Image.fromarray(np.vstack(rows))
        grid.save(folder / f"{name}.webp", lossless=True)
    for split, (_, labels) in arrays.items():
        np.save(folder / f"{split}_labels.npy", labels.astype("uint8"))
    names = "".join(f"name{i}\n" for i in range(10))
    (folder / "batches.meta.txt").write_text(names)


def write_mat(folder, arrays):
    import scipy.io

    for split, (images, labels) in arrays.items():
        content = {
            "X": np.moveaxis(images, 0, -1),
            "y": np.where(labels == 0, 10, labels)[:, None].astype("uint8"),
        }
        scipy.io.savemat(folder / f"{split}_32x32.mat", content)


FORMATS = [
    pytest.param("mnist", write_idx, id="idx"),
    pytest.param("mnist", write_idx_dot, id="idx-dot"),
    pytest.param("fashion_mnist", write_idx_gz, id="idx-gz"),
    pytest.param("cifar10", write_cifar10_binary, id="cifar10-binary"),
    pytest.param("cifar10", write_cifar10_python2, id="cifar10-python2"),
    pytest.param("cifar10", write_cifar10_python3, id="cifar10-python3"),
    pytest.param("cifar10", write_webp, id="cifar10-webp"),
    pytest.param("cifar100", write_cifar100_binary, id="cifar100-binary"),
    pytest.param("cifar100", write_cifar100_python, id="cifar100-python"),
    pytest.param("svhn", write_mat, id="svhn-mat"),
]


def import_tiny(name, source, data_dir, **kwargs):
    with pytest.warns(UserWarning, match="where the published set has"):
        return datasets.import_data(name, source, data_dir, **kwargs)


@pytest.fixture(scope="session")
def tiny_dir(tmp_path_factory):
    """Prepared tiny "mnist", "cifar10" and "svhn"."""
    data_dir = tmp_path_factory.mktemp("prepared")
    for name, write in (
        ("mnist", write_idx),
        ("cifar10", write_cifar10_binary),
        ("svhn", write_mat),
    ):
        source = tmp_path_factory.mktemp(name)
        write(source, tiny_arrays(name))
        import_tiny(name, source, data_dir)
    return data_dir


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "raw"
    folder.mkdir()
    return folder


# Names and facts -----------------------------------------------------------


def test_info_gives_what_a_model_needs_without_data():
    info = datasets.info("cifar100")
    assert info.input_shape == (32, 32, 3)
    assert info.classes == 100
    assert info.sizes == {"train": 50000, "test": 10000}


@pytest.mark.parametrize(
    "function",
    [
        datasets.info,
        datasets.load,
        datasets.load_tf,
        lambda name: datasets.import_data(name, "."),
    ],
)
def test_unknown_name_lists_the_known_names(function):
    with pytest.raises(ValueError, match='"digits", "mnist".*imagenet'):
        function("imagenet")


@pytest.mark.parametrize("name", ["svhn", "cifar10", "cifar100"])
def test_scaled_colours_can_be_signed_spike_probabilities(name):
    info = datasets.info(name)
    for raw in (0.0, 1.0):
        scaled = (raw - np.array(info.mean)) / np.array(info.std)
        # Not quite 1 in the published program either: full blue is 1.0002.
        assert np.abs(scaled).max() < 1.001


def test_optional_packages_are_not_imported_with_the_package():
    modules = set()
    for path in (ROOT / "keras_snn" / "datasets").glob("*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.Import):
                modules.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                modules.add(node.module)
    roots = {module.partition(".")[0] for module in modules}
    required = {"numpy", "keras", "keras_snn"}
    assert roots <= set(sys.stdlib_module_names) | required


# The digits of scikit-learn ------------------------------------------------


def test_digits_are_all_1797_images_scaled_to_one():
    (x_train, y_train), (x_test, y_test) = datasets.load("digits")
    assert x_train.shape == (1437, 8, 8, 1) and x_test.shape == (360, 8, 8, 1)
    assert x_train.dtype == y_train.dtype == np.float32
    assert y_train.shape == (1437, 10) and y_test.shape == (360, 10)
    from sklearn.datasets import load_digits

    expected = sorted((load_digits().data / 16).tolist())
    images = np.concatenate([x_train, x_test]).reshape(-1, 64)
    assert sorted(images.tolist()) == expected


def test_digits_split_is_stratified_and_repeatable():
    first, second = datasets.load("digits"), datasets.load("digits")
    np.testing.assert_array_equal(first[0][0], second[0][0])
    share = first[1][1].sum(0) / (first[0][1].sum(0) + first[1][1].sum(0))
    np.testing.assert_allclose(share, 0.2, atol=0.005)


def test_missing_scikit_learn_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match=r'"keras-snn\[datasets\]"'):
        datasets.load("digits")


# Import and load -----------------------------------------------------------


@pytest.mark.parametrize("name, write", FORMATS)
def test_import_then_load_gives_the_raw_pixels_scaled(
    name, write, source, tmp_path
):
    arrays = tiny_arrays(name)
    write(source, arrays)
    import_tiny(name, source, tmp_path / "prepared")
    loaded = datasets.load(name, tmp_path / "prepared", download=False)
    mean, std = 0.0, 1.0
    if name in ("cifar10", "cifar100", "svhn"):
        mean = np.array([0.4914, 0.4822, 0.4465])
        std = np.array([0.557, 0.549, 0.5534])
    for (images, one_hot), split in zip(loaded, COUNTS, strict=True):
        raw, labels = arrays[split]
        expected = (raw / 255.0 - mean) / std
        assert images.dtype == one_hot.dtype == np.float32
        np.testing.assert_allclose(images, expected, atol=1e-6)
        assert one_hot.shape == (len(labels), datasets.info(name).classes)
        np.testing.assert_array_equal(one_hot.argmax(1), labels)
        np.testing.assert_array_equal(one_hot.sum(1), 1.0)


@pytest.mark.parametrize(
    "name, write, directory",
    [
        ("mnist", write_idx, "mnist/3.0.1"),
        ("cifar10", write_cifar10_python2, "cifar10/3.0.2"),
        ("cifar100", write_cifar100_binary, "cifar100/3.0.2"),
        ("cifar100", write_cifar100_python, "cifar100/3.0.2"),
        ("svhn", write_mat, "svhn_cropped/3.1.0"),
    ],
)
def test_tfds_itself_reads_what_was_imported(
    name, write, directory, source, tmp_path
):
    import tensorflow_datasets as tfds

    write(source, tiny_arrays(name))
    path = import_tiny(name, source, tmp_path)
    assert path == tmp_path / directory
    dataset, info = tfds.load(
        directory.partition("/")[0],
        data_dir=tmp_path,
        download=False,
        with_info=True,
    )
    sizes = {key: split.num_examples for key, split in info.splits.items()}
    assert sizes == COUNTS
    example = next(iter(tfds.as_numpy(dataset["test"])))
    if "id" in info.features:
        assert example["id"].startswith(b"test_0000")
    if name.startswith("cifar"):
        assert info.features["label"].names[9] == "name9"
    if name == "cifar100":
        assert example["coarse_label"] == COARSE
        assert info.features["coarse_label"].names[19] == "name19"


def test_names_of_classes_are_not_needed(source, tmp_path):
    write_cifar10_binary(source, tiny_arrays("cifar10"))
    (source / "batches.meta.txt").unlink()
    import_tiny("cifar10", source, tmp_path)
    (images, _), _ = datasets.load("cifar10", tmp_path, download=False)
    assert len(images) == COUNTS["train"]


def test_import_refuses_to_replace_without_overwrite(source, tmp_path):
    arrays = tiny_arrays("mnist")
    write_idx(source, arrays)
    import_tiny("mnist", source, tmp_path)
    with pytest.raises(FileExistsError, match="overwrite=True"):
        datasets.import_data("mnist", source, tmp_path)
    arrays["train"][0][:] = 255
    write_idx(source, arrays)
    import_tiny("mnist", source, tmp_path, overwrite=True)
    (images, _), _ = datasets.load("mnist", tmp_path, download=False)
    assert images.min() == 1.0
    assert {entry.name for entry in tmp_path.iterdir()} == {"raw", "mnist"}


def test_failed_import_leaves_nothing_behind(source, tmp_path, monkeypatch):
    def fail(features, split_name, split, index):
        if split_name == "test":
            raise OSError("disk full")
        return original(features, split_name, split, index)

    original = importing._example
    monkeypatch.setattr(importing, "_example", fail)
    write_idx(source, tiny_arrays("mnist"))
    with pytest.warns(UserWarning), pytest.raises(OSError, match="disk full"):
        datasets.import_data("mnist", source, tmp_path / "prepared")
    assert list((tmp_path / "prepared").rglob("*")) == []


def test_digits_need_no_import(tmp_path):
    with pytest.raises(ValueError, match="needs no import"):
        datasets.import_data("digits", tmp_path, tmp_path)


# Errors in raw files -------------------------------------------------------


def truncate(path, keep):
    path.write_bytes(path.read_bytes()[:keep])


def swap_images_and_labels(source):
    images, labels = (
        source / f"train-{part}-ubyte"
        for part in ("images-idx3", "labels-idx1")
    )
    content = images.read_bytes()
    images.write_bytes(labels.read_bytes())
    labels.write_bytes(content)


def drop_a_label(source):
    labels = np.zeros(COUNTS["train"] - 1, "uint8")
    (source / "train-labels-idx1-ubyte").write_bytes(idx_bytes(labels))


def write_pickle(source, value):
    (source / "data_batch_1").write_bytes(pickle.dumps(value))


class Malicious:
    def __reduce__(self):
        return os.system, ("exit 1",)


def save_mat(source, **content):
    import scipy.io

    scipy.io.savemat(source / "train_32x32.mat", content)


DAMAGE = [
    pytest.param(
        "mnist",
        write_idx,
        lambda s: truncate(s / "train-images-idx3-ubyte", 1000),
        ValueError,
        "train-images-idx3-ubyte.*expected 7840 bytes.*984 bytes.*truncated",
        id="idx-truncated",
    ),
    pytest.param(
        "mnist",
        write_idx,
        lambda s: truncate(s / "t10k-labels-idx1-ubyte", 5),
        ValueError,
        "expected an idx header of 8 bytes.*a file of 5 bytes",
        id="idx-header",
    ),
    pytest.param(
        "mnist",
        write_idx_gz,
        lambda s: truncate(s / "train-images-idx3-ubyte.gz", 1000),
        ValueError,
        "train-images-idx3-ubyte.gz`: expected a complete gzip file",
        id="idx-gz-truncated",
    ),
    pytest.param(
        "mnist",
        write_idx,
        swap_images_and_labels,
        ValueError,
        "expected the magic number 2051.*2049.*mixed up",
        id="idx-magic",
    ),
    pytest.param(
        "mnist",
        write_idx,
        drop_a_label,
        ValueError,
        "as many labels as images.*10 images and 9 labels",
        id="idx-counts",
    ),
    pytest.param(
        "mnist",
        write_idx,
        lambda s: (s / "t10k-images-idx3-ubyte").unlink(),
        FileNotFoundError,
        "Expected a file `t10k-images.*holds: t10k-labels-idx1-ubyte, train",
        id="idx-missing",
    ),
    pytest.param(
        "cifar10",
        write_cifar10_binary,
        lambda s: truncate(s / "data_batch_3.bin", 4000),
        ValueError,
        "data_batch_3.bin`: expected a whole number of 3073-byte records",
        id="cifar-binary-truncated",
    ),
    pytest.param(
        "cifar10",
        write_cifar10_binary,
        lambda s: (s / "data_batch_3.bin").write_bytes(b"\x0a" + bytes(3072)),
        ValueError,
        'expected labels 0..9 for "cifar10". Received: labels 10..10',
        id="cifar-binary-label",
    ),
    pytest.param(
        "cifar10",
        write_cifar10_binary,
        lambda s: (s / "data_batch_3.bin").unlink(),
        FileNotFoundError,
        "Expected a file `data_batch_3.bin`",
        id="cifar-binary-missing",
    ),
    pytest.param(
        "cifar10",
        write_cifar10_python2,
        lambda s: truncate(s / "data_batch_1", 4000),
        ValueError,
        "data_batch_1`: expected a pickle of Python values and NumPy arrays",
        id="cifar-python-truncated",
    ),
    pytest.param(
        "cifar10",
        write_cifar10_python3,
        lambda s: write_pickle(s, {b"data": Malicious()}),
        ValueError,
        "data_batch_1`: expected a pickle.*it names `(posix|nt).system`",
        id="cifar-python-malicious",
    ),
    pytest.param(
        "cifar10",
        write_cifar10_python3,
        lambda s: write_pickle(s, {b"fine_labels": []}),
        ValueError,
        r"with the key b'data'. Received: \[b'fine_labels'\]",
        id="cifar-python-foreign",
    ),
    pytest.param(
        "cifar10",
        write_cifar10_python3,
        lambda s: write_pickle(s, {b"data": np.zeros((2, 9))}),
        ValueError,
        r"uint8 array of shape \(N, 3072\).*float64 \(2, 9\)",
        id="cifar-python-shape",
    ),
    pytest.param(
        "cifar10",
        write_webp,
        lambda s: truncate(s / "data_batch_2.webp", 500),
        ValueError,
        "data_batch_2.webp`: expected a complete WebP image",
        id="webp-truncated",
    ),
    pytest.param(
        "cifar10",
        write_webp,
        lambda s: np.save(s / "train_labels.npy", np.zeros(9, "uint8")),
        ValueError,
        "train_labels.npy`.*10 images and 9 labels",
        id="webp-counts",
    ),
    pytest.param(
        "cifar10",
        write_webp,
        lambda s: np.save(s / "test_labels.npy", np.zeros(4)),
        ValueError,
        r"expected integers of shape \(N,\). Received: float64",
        id="webp-labels-dtype",
    ),
    pytest.param(
        "svhn",
        write_mat,
        lambda s: truncate(s / "test_32x32.mat", 600),
        ValueError,
        "test_32x32.mat`: expected a complete MATLAB 5 file",
        id="mat-truncated",
    ),
    pytest.param(
        "svhn",
        write_mat,
        lambda s: save_mat(s, digitStruct=1),
        ValueError,
        r"expected the variables X and y. Received: \['digitStruct'\]",
        id="mat-foreign",
    ),
    pytest.param(
        "svhn",
        write_mat,
        lambda s: save_mat(s, X=np.zeros((32, 32, 3, 2), "uint8"), y=[0, 1]),
        ValueError,
        "expected y in 1..10.*Received: 0..1",
        id="mat-label",
    ),
    pytest.param(
        "svhn",
        write_mat,
        lambda s: save_mat(s, X=np.zeros((9, 9, 3, 2), "uint8"), y=[1, 1]),
        ValueError,
        r"expected images of shape \(32, 32, 3\).*Received: \(9, 9, 3\)",
        id="mat-shape",
    ),
]


@pytest.mark.parametrize("name, write, damage, error, message", DAMAGE)
def test_damaged_files_are_named(
    name, write, damage, error, message, source, tmp_path
):
    write(source, tiny_arrays(name))
    damage(source)
    with pytest.raises(error, match=message):
        datasets.import_data(name, source, tmp_path / "prepared")
    assert not (tmp_path / "prepared").exists()


def test_folder_without_raw_files_says_what_was_looked_for(source, tmp_path):
    (source / "cifar-10-binary.tar.gz").touch()
    with pytest.raises(
        FileNotFoundError,
        match="python batches.*binary batches.*WebP.*holds: cifar-10-binary"
        ".tar.gz.*Unpack",
    ):
        datasets.import_data("cifar10", source, tmp_path)


def test_source_must_be_a_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere`, which is not a"):
        datasets.import_data("mnist", tmp_path / "nowhere", tmp_path)


# Data sets that are not prepared -------------------------------------------


def test_unprepared_data_say_where_and_how_to_import(tmp_path):
    with pytest.raises(
        FileNotFoundError,
        match="svhn_cropped/3.1.0` in data_dir .* `download` is False.*"
        "keras-snn import-data svhn FOLDER --data-dir",
    ):
        datasets.load("svhn", tmp_path, download=False)


def test_failed_download_is_the_cause_of_the_error(tmp_path, monkeypatch):
    import tensorflow_datasets as tfds

    def fail(self):
        raise ConnectionError("no route to host")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", fail)
    monkeypatch.setattr(prepared, "_is_offline", lambda: False)
    with pytest.raises(
        FileNotFoundError,
        match="ConnectionError: no route to host.*keras-snn import-data mnist",
    ) as caught:
        datasets.load("mnist", tmp_path)
    assert isinstance(caught.value.__cause__, ConnectionError)


def test_without_a_network_nothing_is_tried_for_minutes(tmp_path, monkeypatch):
    import tensorflow_datasets as tfds

    def unknown(host, port):
        raise socket.gaierror("Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    monkeypatch.setattr(prepared.urllib.request, "getproxies", dict)
    # Calling it would be an error.
    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", None)
    with pytest.raises(FileNotFoundError, match="no network.*import-data"):
        datasets.load("mnist", tmp_path)


def test_missing_tensorflow_datasets_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(ImportError, match=r'"keras-snn\[datasets\]"'):
        datasets.load("mnist", tmp_path)


# Pipelines -----------------------------------------------------------------


def epoch(pipeline):
    """All images and labels of one pass, as arrays."""
    images, labels = zip(*pipeline.as_numpy_iterator(), strict=True)
    return np.concatenate(images), np.concatenate(labels)


def raw_pixels(images, name):
    info = datasets.info(name)
    raw = (images * np.array(info.std) + np.array(info.mean)) * 255
    return np.rint(raw).astype("uint8")


def windows(image, padding):
    """All windows of the image's size in the zero-padded image."""
    padded = np.pad(image, [(padding, padding), (padding, padding), (0, 0)])
    height, width, _ = image.shape
    shifts = range(2 * padding + 1)
    return np.stack(
        [padded[i : i + height, j : j + width] for i in shifts for j in shifts]
    )


def is_one_of(image, candidates):
    return (candidates == image).all(axis=(1, 2, 3)).any()


def test_pipeline_has_static_shapes_and_a_known_length(tiny_dir):
    pipeline = datasets.load_tf("cifar10", "train", 4, tiny_dir)
    images, labels = pipeline.element_spec
    assert images.shape.as_list() == [None, 32, 32, 3]
    assert labels.shape.as_list() == [None, 10]
    assert images.dtype == labels.dtype == "float32"
    assert len(pipeline) == 3
    sizes = [len(batch) for batch, _ in pipeline]
    assert sizes == [4, 4, 2]


def test_drop_remainder_leaves_full_batches_only(tiny_dir):
    pipeline = datasets.load_tf(
        "cifar10", "train", 4, tiny_dir, drop_remainder=True
    )
    assert [batch.shape[0] for batch, _ in pipeline] == [4, 4]


@pytest.mark.parametrize("name", ["digits", "mnist", "cifar10"])
def test_test_pipeline_equals_the_loaded_arrays(name, tiny_dir):
    _, (x_test, y_test) = datasets.load(name, tiny_dir)
    images, labels = epoch(datasets.load_tf(name, "test", 3, tiny_dir))
    np.testing.assert_allclose(images, x_test, atol=1e-6)
    np.testing.assert_array_equal(labels, y_test)


def test_training_order_is_new_each_epoch_and_complete():
    (x_train, y_train), _ = datasets.load("digits")
    pipeline = datasets.load_tf("digits", "train", 64, seed=0)
    first, second = epoch(pipeline), epoch(pipeline)
    assert not np.array_equal(first[0], second[0])
    assert not np.array_equal(first[0], x_train)
    for images, labels in (first, second):
        np.testing.assert_array_equal(labels.sum(0), y_train.sum(0))
        assert sorted(images.reshape(len(images), -1).tolist()) == sorted(
            x_train.reshape(len(x_train), -1).tolist()
        )


def test_a_seed_repeats_the_epochs_of_a_pipeline(tiny_dir):
    first, second, other = (
        datasets.load_tf("cifar10", "train", 4, tiny_dir, seed=seed)
        for seed in (7, 7, 8)
    )
    a, b, c = (
        [epoch(pipeline) for _ in range(2)]
        for pipeline in (first, second, other)
    )
    np.testing.assert_array_equal(a[0][0], b[0][0])
    np.testing.assert_array_equal(a[1][0], b[1][0])
    assert not np.array_equal(a[0][0], a[1][0])
    assert not np.array_equal(a[0][0], c[0][0])


def test_crops_are_new_each_epoch(tiny_dir):
    pipeline = datasets.load_tf(
        "svhn", "train", 4, tiny_dir, shuffle=False, seed=7
    )
    assert not np.array_equal(epoch(pipeline)[0], epoch(pipeline)[0])


def test_without_a_seed_pipelines_differ(tiny_dir):
    first, second = (
        epoch(datasets.load_tf("svhn", "train", 4, tiny_dir, shuffle=False))
        for _ in range(2)
    )
    assert not np.array_equal(first[0], second[0])


@pytest.mark.parametrize("name, flips", [("cifar10", True), ("svhn", False)])
def test_augmentation_pads_raw_pixels_with_black(name, flips, tiny_dir):
    raw, _ = tiny_arrays(name)["train"]
    pipeline = datasets.load_tf(
        name, "train", 4, tiny_dir, shuffle=False, seed=1
    ).repeat(3)
    images = raw_pixels(epoch(pipeline)[0], name)
    mirrored = 0
    for image, original in zip(images, np.tile(raw, (3, 1, 1, 1)), strict=True):
        if not is_one_of(image, windows(original, 4)):
            assert is_one_of(image, windows(original[:, ::-1], 4))
            mirrored += 1
    assert (0 < mirrored < len(images)) if flips else mirrored == 0


def test_augmentation_can_be_switched_off(tiny_dir):
    raw, _ = tiny_arrays("cifar10")["train"]
    pipeline = datasets.load_tf(
        "cifar10", "train", 4, tiny_dir, augment=False, shuffle=False
    )
    np.testing.assert_array_equal(
        raw_pixels(epoch(pipeline)[0], "cifar10"), raw
    )


def test_every_crop_offset_occurs():
    image = np.arange(1, 10, dtype="uint8").reshape(3, 3, 1)
    crops = random_crop(np.stack([image] * 500), 1, seed=[0, 1]).numpy()
    expected = windows(image, 1)
    assert len(np.unique(crops, axis=0)) == len(expected) == 9
    assert all(is_one_of(crop, expected) for crop in crops)


def test_half_of_the_images_are_mirrored():
    image = np.arange(6, dtype="uint8").reshape(2, 3, 1)
    flipped = random_flip(np.stack([image] * 1000), seed=[0, 1]).numpy()
    mirrored = (flipped == image[:, ::-1]).all(axis=(1, 2, 3))
    kept = (flipped == image).all(axis=(1, 2, 3))
    assert (mirrored ^ kept).all()
    # Four standard deviations of a fair coin thrown 1,000 times.
    assert abs(mirrored.mean() - 0.5) < 4 * 0.5 / np.sqrt(1000)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"split": "validation"}, '`split` must be "train" or "test"'),
        ({"batch_size": 0}, "positive integer. Received: 0"),
        ({"augment": True}, '"digits" has no published augmentation'),
    ],
)
def test_pipeline_refuses_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        datasets.load_tf("digits", **arguments)


# The published data --------------------------------------------------------

MNIST_COUNTS = (
    [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949],
    [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009],
)


@pytest.fixture(scope="session")
def mnist_dir(tmp_path_factory):
    if not (SHARED_DATA / "mnist").is_dir():
        pytest.skip(f"no MNIST files in {SHARED_DATA}")
    data_dir = tmp_path_factory.mktemp("mnist_prepared")
    datasets.import_data("mnist", SHARED_DATA / "mnist", data_dir)
    yield data_dir
    shutil.rmtree(data_dir)


def test_mnist_has_the_published_counts(mnist_dir):
    (x_train, y_train), (x_test, y_test) = datasets.load("mnist", mnist_dir)
    assert x_train.shape == (60000, 28, 28, 1)
    assert x_test.shape == (10000, 28, 28, 1)
    assert x_train.min() == 0.0 and x_train.max() == 1.0
    assert y_train.sum(0).tolist() == MNIST_COUNTS[0]
    assert y_test.sum(0).tolist() == MNIST_COUNTS[1]


def test_mnist_keeps_the_published_order(mnist_dir):
    _, (x_test, _) = datasets.load("mnist", mnist_dir)
    path = SHARED_DATA / "mnist" / "t10k-images-idx3-ubyte.gz"
    raw = np.frombuffer(gzip.decompress(path.read_bytes())[16:], "uint8")
    np.testing.assert_array_equal(
        np.rint(x_test * 255), raw.reshape(-1, 28, 28, 1)
    )


@pytest.mark.long
def test_cifar10_has_the_published_counts(tmp_path):
    if not (SHARED_DATA / "cifar10").is_dir():
        pytest.skip(f"no CIFAR-10 files in {SHARED_DATA}")
    datasets.import_data("cifar10", SHARED_DATA / "cifar10", tmp_path)
    (x_train, y_train), (x_test, y_test) = datasets.load("cifar10", tmp_path)
    assert x_train.shape == (50000, 32, 32, 3)
    assert x_test.shape == (10000, 32, 32, 3)
    assert np.abs(x_train).max() < 1.001
    assert y_train.sum(0).tolist() == [5000] * 10
    assert y_test.sum(0).tolist() == [1000] * 10
    labels = np.load(SHARED_DATA / "cifar10" / "test_labels.npy")
    np.testing.assert_array_equal(y_test.argmax(1), labels)
    shutil.rmtree(tmp_path / "cifar10")


@pytest.mark.parametrize("name", ["mnist", "cifar10", "svhn"])
def test_batches_of_records_are_the_images_that_load_gives(tiny_dir, name):
    arrays = dict(zip(("train", "test"), datasets.load(name, tiny_dir)))
    for split, (x, y) in arrays.items():
        batches = datasets.record_batches(
            name, split, 3, tiny_dir, shuffle=False
        )
        found = [batches[i] for i in range(len(batches))]
        for ours, theirs in zip((x, y), zip(*found), strict=True):
            theirs = np.concatenate(theirs)
            assert theirs.dtype == ours.dtype
            np.testing.assert_array_equal(theirs, ours)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("digits",), '"digits" comes with a package'),
        (("nmnist",), "Expected a data set of images"),
        (("mnist", "valid"), "`split`"),
        (("mnist", "test", 0), "`batch_size`"),
    ],
)
def test_batches_of_records_name_wrong_arguments(tiny_dir, arguments, message):
    with pytest.raises(ValueError, match=message):
        datasets.record_batches(
            *arguments, **{"data_dir": tiny_dir, "download": False}
        )


def test_class_names_are_those_of_the_raw_files():
    for name in datasets.catalogue.IMAGE_NAMES:
        info = datasets.info(name)
        assert len(info.class_names) in (0, info.classes)
    assert datasets.info("cifar10").class_names[5] == "dog"


@pytest.mark.parametrize(
    "coarse, message",
    [
        (lambda n: np.full(n, COARSE, "uint8"), None),
        (lambda n: [COARSE] * (n - 1), "a superclass 0..19 of each of"),
        (lambda n: [99] * n, r"Received: shape \(.*\), .*99"),
        (lambda n: [-1] * n, "a superclass 0..19"),
        (lambda n: ["a"] * n, "labels that are integers"),
    ],
)
def test_superclasses_are_checked(coarse, message, tmp_path):
    write_cifar100_python(tmp_path, tiny_arrays("cifar100"), coarse)
    if message is None:
        split = cifar_python.read(tmp_path, datasets.info("cifar100")).splits
        assert set(split["train"].coarse_labels) == {COARSE}
        return
    with pytest.raises(ValueError, match=message):
        cifar_python.read(tmp_path, datasets.info("cifar100"))
