"""Every kind of file that is read, and ways to damage it.

`doors` lists them. Of a file that is cut off or has flipped bits each says so
in a `ValueError` that names the file, or reads it right. Formats without
checksums, `is_checked=False`, cannot know of a flipped bit in a number: of
them any result that is one is right.
"""

import dataclasses
import json
import os
import pathlib
from collections.abc import Callable

import keras
import numpy as np

import keras_snn as snn
from keras_snn import datasets
from keras_snn.datasets import (
    cifar_binary,
    cifar_python,
    events,
    idx_files,
    svhn_mat,
    webp_grids,
)
from keras_snn.models import files, pretrained
from keras_snn.training import checkpoint_files, recipe, records
from tests import test_datasets as raw
from tests.datasets_events import writers


@dataclasses.dataclass(frozen=True)
class Door:
    """A way by which a file comes in.

    Attributes:
        file: Name of the file within a folder.
        write: Function that writes it, and what belongs to it, to a folder.
        read: Function from the folder to what is read, arrays and such.
        is_checked: Whether the format has checksums.
        is_open_ended: Whether a part of a file may be a shorter whole one.
    """

    file: str
    write: Callable
    read: Callable
    is_checked: bool = False
    is_open_ended: bool = False


def network():
    """Return a model of few bytes."""
    x = keras.Input((3, 2))
    y = snn.layers.TimeFold(keras.layers.Dense(4, name="dense"))(x)
    y = snn.layers.LIF(beta=0.5, learning_rule="arctan", name="lif")(y)
    y = snn.layers.TimeFold(keras.layers.Dense(2, name="scores"))(y)
    return snn.Model(x, snn.layers.MembraneReadout(name="out")(y), name="net")


def content_of(model):
    config = json.dumps(model.get_config(), sort_keys=True, default=str)
    return config, model.get_weights()


def save(name):
    def write(folder):
        keras.utils.set_random_seed(0)
        model = network()
        if name.endswith(".weights.h5"):
            model.save_weights(folder / name)
        elif name.endswith(".npz"):
            pretrained.write(folder / name, model)
        else:
            model.save(folder / name)

    return write


def load_weights(name):
    model = network()

    def read(folder):
        model.set_weights([np.zeros_like(x) for x in model.get_weights()])
        files.load_weights_of_argument(model, folder / name, ())
        return model.get_weights()

    return read


def write_checkpoint(folder):
    arrays = [np.arange(12, dtype="float32").reshape(3, 4), np.array(7)]
    place = checkpoint_files.Position(1, 2)
    checkpoint_files.write(folder, place, arrays, {"variables": 2}, 3)


CHECKPOINT = "epoch00001-update00000002.npz"


def write_history(folder):
    record = records.new_record(recipe("lenet", "digits"), "keras-snn train")
    records.add_epoch(record, 0, {"loss": 0.5, "val_accuracy": 0.25})
    records.write_record(folder, record)


def write_runtime(folder):
    keras.utils.set_random_seed(0)
    snn.export.runtime(network(), folder / "net.npz")


def read_runtime(folder):
    import keras_snn_runtime

    return keras_snn_runtime.load(folder / "net.npz").predict(
        np.ones((1, 3, 2), "float32")
    )


def write_nir(folder):
    keras.utils.set_random_seed(0)
    snn.export.to_nir(network(), folder / "net.nir")


def recording(seed, size):
    return writers.random_events(np.random.default_rng(seed), size, 20)


def write_bytes(name, content):
    return lambda folder: (folder / name).write_bytes(content)


def write_gestures(folder):
    trial = {"user01_led": (recording(0, (128, 128)), [[1, 0, 300_000]])}
    writers.write_gestures(folder, {"train": trial, "test": {}})


def write_nmnist_zip(folder):
    found = {f"Train/{i}/0000{i}.bin": recording(i, (34, 34)) for i in (3, 5)}
    writers.write_nmnist_zip(folder / "Train.zip", found)


def read_events(name):
    def read(folder):
        found = events.recordings(name, "train", folder)
        return [found[i] for i in range(len(found))]

    return read


def write_raw(write, name):
    """Return a writer of few tiny images."""

    def writer(folder):
        arrays = raw.tiny_arrays(name)
        write(folder, arrays)

    return writer


def read_raw(reader, name):
    info = datasets.info(name)

    def read(folder):
        data = reader.read(folder, info)
        return data.label_names, [
            (x.images, x.labels, x.coarse_labels) for x in data.splits.values()
        ]

    return read


def doors():
    """Return all doors by name; those whose packages are missing, without."""
    found = {
        "keras model": Door(
            "net.keras",
            save("net.keras"),
            lambda folder: content_of(
                snn.models.load_model(folder / "net.keras")
            ),
            is_checked=True,
        ),
        "keras weights": Door(
            "net.keras",
            save("net.keras"),
            load_weights("net.keras"),
            is_checked=True,
        ),
        "HDF5 weights": Door(
            "net.weights.h5",
            save("net.weights.h5"),
            load_weights("net.weights.h5"),
        ),
        "NumPy weights": Door(
            "net.npz", save("net.npz"), load_weights("net.npz"), is_checked=True
        ),
        "checkpoint": Door(
            CHECKPOINT,
            write_checkpoint,
            lambda folder: checkpoint_files.read(folder / CHECKPOINT),
            is_checked=True,
        ),
        "history": Door(records.HISTORY, write_history, records.read_record),
        "nmnist": Door(
            "one.bin",
            write_bytes(
                "one.bin", writers.nmnist_bytes(recording(0, (34, 34)))
            ),
            lambda folder: events.read_nmnist(folder / "one.bin"),
            is_open_ended=True,
        ),
        "nmnist archive": Door(
            "Train.zip",
            write_nmnist_zip,
            read_events("nmnist"),
            is_checked=True,
        ),
        "aedat 2": Door(
            "one.aedat",
            write_bytes(
                "one.aedat", writers.aedat2_bytes(recording(0, (128, 128)))
            ),
            lambda folder: events.read_aedat2(folder / "one.aedat"),
            is_open_ended=True,
        ),
        "aedat 3": Door(
            "user01_led.aedat",
            write_gestures,
            lambda folder: events.read_aedat3(folder / "user01_led.aedat"),
            is_open_ended=True,
        ),
        "gesture labels": Door(
            "user01_led_labels.csv",
            write_gestures,
            read_events("dvs_gesture"),
            is_open_ended=True,
        ),
        "gesture trials": Door(
            "trials_to_train.txt",
            write_gestures,
            read_events("dvs_gesture"),
            is_open_ended=True,
        ),
    }
    for name, file, write, reader, dataset in (
        ("idx", "train-images-idx3-ubyte", raw.write_idx, idx_files, "mnist"),
        (
            *("idx gzip", "t10k-labels-idx1-ubyte.gz"),
            *(raw.write_idx_gz, idx_files, "mnist"),
        ),
        (
            *("cifar binary", "data_batch_1.bin"),
            *(raw.write_cifar10_binary, cifar_binary, "cifar10"),
        ),
        (
            *("cifar pickle 2", "data_batch_1"),
            *(raw.write_cifar10_python2, cifar_python, "cifar10"),
        ),
        (
            *("cifar pickle 5", "data_batch_1"),
            *(raw.write_cifar10_python3, cifar_python, "cifar10"),
        ),
        (
            *("cifar names", "batches.meta"),
            *(raw.write_cifar10_python2, cifar_python, "cifar10"),
        ),
        (
            *("webp", "test_batch.webp"),
            *(raw.write_webp, webp_grids, "cifar10"),
        ),
        (
            *("webp labels", "test_labels.npy"),
            *(raw.write_webp, webp_grids, "cifar10"),
        ),
        ("mat", "test_32x32.mat", raw.write_mat, svhn_mat, "svhn"),
    ):
        writer, read = write_raw(write, dataset), read_raw(reader, dataset)
        # A batch of fewer images is one; that some are missing is warned of.
        is_open_ended = name == "cifar binary"
        found[name] = Door(file, writer, read, is_open_ended=is_open_ended)
    if _has("nir"):
        found["nir"] = Door(
            "net.nir",
            write_nir,
            lambda folder: content_of(snn.export.from_nir(folder / "net.nir")),
        )
    if _has("numba"):
        found["runtime"] = Door(
            "net.npz", write_runtime, read_runtime, is_checked=True
        )
    return found


def _has(package):
    import importlib.util

    return importlib.util.find_spec(package) is not None


def cuts(content, parts=50):
    """Yield the beginnings of a file at every 1/50 of it."""
    for part in range(parts):
        size = len(content) * part // parts
        yield f"cut to {size} bytes", content[:size]


def flips(content, number, seed=0):
    """Yield a file with one bit flipped, at random places."""
    random = np.random.default_rng(seed)
    for _ in range(number):
        at, bit = int(random.integers(len(content))), int(random.integers(8))
        changed = bytearray(content)
        changed[at] ^= 1 << bit
        yield f"bit {bit} of byte {at}", bytes(changed)


def equal(a, b):
    """Return whether two results are the same, arrays bit by bit."""
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        same = getattr(a, "dtype", 0) == getattr(b, "dtype", 0)
        return same and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(equal, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[k], b[k]) for k in a)
    return a == b


def shape_of(result):
    """Return the kinds of what was read, without its values."""
    if isinstance(result, np.ndarray):
        return result.dtype.names or result.dtype.kind
    if isinstance(result, (list, tuple)):
        return [shape_of(x) for x in result]
    return type(result).__name__


class Trial:
    """Reads damaged versions of a door's file, and counts what came of it.

    Attributes:
        counts: How many were `"refused"`, were `"unharmed"`, and, where the
            format has no checksums, were taken with `"another value"`.
        faults: What should not have been, as lines of text.
    """

    def __init__(self, door, folder):
        self.door, self.folder = door, pathlib.Path(folder)
        door.write(self.folder)
        self.path = self.folder / door.file
        self.whole = self.path.read_bytes()
        self.expected = door.read(self.folder)
        self.counts = {"refused": 0, "unharmed": 0, "another value": 0}
        self.faults = []

    def cuts(self):
        for what, content in cuts(self.whole):
            if self._read(what, content) and not self.door.is_open_ended:
                self.faults.append(f"{what}: taken for a whole file")

    def flips(self, number, seed=0):
        for what, content in flips(self.whole, number, seed):
            self._read(what, content)

    def _read(self, what, content):
        """Return whether a damaged file was taken."""
        self.path.write_bytes(content)
        try:
            found = self.door.read(self.folder)
        except ValueError as error:
            self.counts["refused"] += 1
            names = self.path.name, os.path.basename(self.folder)
            if not any(name in str(error) for name in names):
                self.faults.append(f"{what}: does not name it: {error}")
            return False
        except (ImportError, FileNotFoundError) as error:
            # A list may name a file that is not there.
            is_told = self.path.suffix == ".txt"
            self.counts["refused"] += is_told
            if not is_told:
                self.faults.append(f"{what}: {error!r}")
            return False
        except Exception as error:
            self.faults.append(f"{what}: {error!r}")
            return False
        if equal(found, self.expected):
            self.counts["unharmed"] += 1
        else:
            self.counts["another value"] += 1
            if self.door.is_checked:
                self.faults.append(f"{what}: taken with another value")
        return True
