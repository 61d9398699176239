"""Damaged and hostile files: named and refused, within memory, no code run.

`tests/damage.py` lists the ways by which files come in;
`python -m tests.long.damaged_files` tries thousands of changes of each.
"""

import codecs
import gzip
import hashlib
import io
import json
import os
import pickle
import struct
import tracemalloc
import zipfile
import zlib

import keras
import numpy as np
import pytest

import keras_snn as snn
from keras_snn import untrusted
from keras_snn.datasets import cifar_python, svhn_mat
from keras_snn.models import files
from keras_snn.training import checkpoint_files
from tests import damage

DOORS = damage.doors()
FLIPS = 20
HUGE = untrusted.SMALL + 2**20


@pytest.mark.parametrize("name", DOORS)
def test_damage_is_told_or_does_no_harm(name, tmp_path):
    trial = damage.Trial(DOORS[name], tmp_path)
    trial.cuts()
    trial.flips(FLIPS)
    assert trial.faults == []
    assert trial.counts["refused"] >= 35
    assert sum(trial.counts.values()) == 50 + FLIPS


# What claims, or unpacks to, far more than the file has ---------------------


def npy(shape, dtype="<f4", content=b""):
    file = io.BytesIO()
    header = {"descr": dtype, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue() + content


def zipped(members, compression=zipfile.ZIP_DEFLATED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def checkpoint(content):
    return content + hashlib.sha256(content).digest()


def hdf5(fill):
    import h5py

    file = io.BytesIO()
    with h5py.File(file, "w") as opened:
        fill(opened)
    return file.getvalue()


def claims(file):
    """A data set of which nothing is stored."""
    group = file.create_group("layers/dense/vars")
    group.create_dataset("0", (2**31, 4), "f4", chunks=(2**10, 4))


def keras_model(**changed):
    """Return a function from a whole file to one with other parts."""

    def change(whole):
        with zipfile.ZipFile(io.BytesIO(whole)) as archive:
            parts = {x: archive.read(x) for x in archive.namelist()}
        return zipped({**parts, **changed})

    return change


def mat(element):
    def change(whole):
        return whole[:128] + element

    return change


def webp(whole):
    """Set 14 bits of width and as many of height, less one, to ones."""
    at = whole.index(b"VP8L") + 9
    return whole[:at] + b"\xff\xff\xff\x0f" + whole[at + 4 :]


ZEROS = bytes(HUGE)
PACKED = zlib.compress(ZEROS, 1)
BOMBS = {
    "NumPy weights: claim": (
        "NumPy weights",
        zipped({"000.npy": npy((2**31, 4))}),
    ),
    "NumPy weights: unpacked": (
        "NumPy weights",
        zipped({"000.npy": npy((HUGE // 4,), content=ZEROS)}),
    ),
    "checkpoint: claim": (
        "checkpoint",
        checkpoint(zipped({"000000.npy": npy((2**31, 4)), "notes.npy": b""})),
    ),
    "checkpoint: unpacked": ("checkpoint", checkpoint(zipped({"a": ZEROS}))),
    "keras model: configuration": (
        "keras model",
        keras_model(**{"config.json": b" " * HUGE}),
    ),
    "keras model: weights": (
        "keras model",
        keras_model(**{"model.weights.h5": hdf5(claims)}),
    ),
    "keras model: deep": (
        "keras model",
        keras_model(**{"config.json": b"[" * 200_000}),
    ),
    "HDF5 weights": ("HDF5 weights", hdf5(claims)),
    "nir": ("nir", hdf5(claims)),
    "history: deep": ("history", b"[" * 200_000),
    "idx: claim": ("idx", struct.pack(">4I", 2051, *[2**32 - 1] * 3)),
    "idx gzip": ("idx gzip", gzip.compress(ZEROS, 1)),
    "mat: unpacked": ("mat", mat(struct.pack("<2I", 15, len(PACKED)) + PACKED)),
    "mat: claim": ("mat", mat(struct.pack("<2I", 14, 2**32 - 8))),
    "webp": ("webp", webp),
    "webp labels": ("webp labels", npy((2**33,), "|u1")),
    "nmnist archive": ("nmnist archive", zipped({"Train/3/1.bin": ZEROS})),
    "aedat 3": (
        "aedat 3",
        lambda whole: (
            whole[: whole.index(b"END-HEADER\r\n") + 12]
            + struct.pack("<hhiiiiii", 1, 1, 8, 4, 0, *[2**31 - 1] * 3)
        ),
    ),
    "cifar pickle: array": (
        "cifar pickle 5",
        b"cnumpy\nndarray\n(I99999999999\ntR.",
    ),
    "cifar pickle: place": (
        "cifar pickle 5",
        b"\x80\x02Nr" + struct.pack("<I", 2**31 - 1) + b".",
    ),
    "cifar pickle: doubled": (
        "cifar pickle 5",
        b"\x80\x02"
        + b"c_codecs\nencode\n" * 40
        + b"C\x01a"
        + b"X\x03\x00\x00\x00hex\x86R" * 40
        + b".",
    ),
    "runtime": ("runtime", zipped({"network.json": b" " * HUGE})),
    "runtime: claim": (
        "runtime",
        zipped(
            {"network.json": "{}", "weight0.npy": npy((2**31, 4))},
            zipfile.ZIP_STORED,
        ),
    ),
}


@pytest.mark.parametrize("name", BOMBS)
def test_memory_is_bounded_by_the_size_of_the_file(name, tmp_path):
    door, change = BOMBS[name]
    if door not in DOORS:
        pytest.skip(f"{door} needs another package")
    door = DOORS[door]
    door.write(tmp_path)
    path = tmp_path / door.file
    content = change(path.read_bytes()) if callable(change) else change
    path.write_bytes(content)
    assert len(content) < 2**20
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=path.name):
            door.read(tmp_path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # What was claimed is gigabytes, or just above the bound.
    assert peak < untrusted.SMALL + 2**25


def test_what_shrinks_to_a_third_is_read(tmp_path):
    keras.utils.set_random_seed(0)
    model = damage.network()
    arrays = {f"{i:03d}": x for i, x in enumerate(model.get_weights())}
    np.savez_compressed(tmp_path / "net.npz", **arrays)
    again = damage.network()
    files.load_weights_of_argument(again, tmp_path / "net.npz", ())
    assert damage.equal(again.get_weights(), model.get_weights())


@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_come_back(order):
    for x in (np.arange(6.0).reshape(2, 3), np.array(3), np.zeros((0, 2))):
        file = io.BytesIO()
        np.save(file, np.asarray(x, order=order))
        found = untrusted.array(file.getvalue())
        assert found.dtype == x.dtype
        np.testing.assert_array_equal(found, x)


def test_big_endian_matlab_files_are_looked_through():
    content = bytes(124) + b"\x01\x00MI" + struct.pack(">2I", 14, 99)
    with pytest.raises(EOFError, match="element of 99 bytes at byte 136"):
        svhn_mat._check_unpacked(content)


# What lies elsewhere ---------------------------------------------------------


@pytest.mark.parametrize("name", ["../../evil.txt", "/evil.txt", "a/../../b"])
@pytest.mark.parametrize("door", ["keras model", "NumPy weights"])
def test_archives_name_no_files_elsewhere(name, door, tmp_path):
    folder = tmp_path / "deep" / "deeper"
    folder.mkdir(parents=True)
    door = DOORS[door]
    door.write(folder)
    path = folder / door.file
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, "evil")
    with pytest.raises(ValueError, match="names a file elsewhere"):
        door.read(folder)
    assert not list(tmp_path.rglob("evil*"))


def test_two_files_of_one_name_are_refused(tmp_path):
    path = tmp_path / "net.npz"
    with zipfile.ZipFile(path, "w") as archive:
        with pytest.warns(UserWarning, match="Duplicate name"):
            for value in (0.0, 1.0):
                archive.writestr("000.npy", npy((1,), content=bytes(4)))
    with pytest.raises(ValueError, match="two files of one name"):
        files.load_weights_of_argument(damage.network(), path, ())


def external_link(file):
    import h5py

    file["node"] = h5py.ExternalLink("/etc/passwd", "/")


def soft_loop(file):
    import h5py

    file["node"] = h5py.SoftLink("/node")


def hard_loop(file):
    group = file.create_group("node")
    group["node"] = group


def external_values(file):
    file.create_dataset("node", (4,), "u1", external=[("/etc/passwd", 0, 4)])


@pytest.mark.parametrize(
    "fill, message",
    [
        (external_link, "link to elsewhere"),
        (soft_loop, "link to elsewhere"),
        (hard_loop, "is there twice"),
        (external_values, "lies in another file"),
    ],
)
def test_hdf5_files_hold_all_that_is_theirs(fill, message, tmp_path):
    content = hdf5(fill)
    for name in ("HDF5 weights", "nir"):
        if name in DOORS:
            door = DOORS[name]
            (tmp_path / door.file).write_bytes(content)
            with pytest.raises(ValueError, match=message):
                door.read(tmp_path)


@pytest.mark.parametrize("line", ["../secret.aedat", "/secret.aedat"])
def test_lists_of_trials_name_no_files_elsewhere(line, tmp_path):
    door = DOORS["gesture trials"]
    door.write(tmp_path)
    (tmp_path / door.file).write_text(line)
    with pytest.raises(ValueError, match="beside it.*lies elsewhere"):
        door.read(tmp_path)


# What would run code ---------------------------------------------------------


class Runs:
    """An object whose pickle makes a file when it is read."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize(
    "door", ["NumPy weights", "checkpoint", "webp labels", "runtime"]
)
def test_pickled_objects_are_refused(door, tmp_path):
    if door not in DOORS:
        pytest.skip("needs Numba")
    door, evil = DOORS[door], tmp_path / "evil"
    door.write(tmp_path)
    path = tmp_path / door.file
    objects = np.array([Runs(evil)], dtype=object)
    if path.suffix == ".npy":
        np.save(path, objects)
    else:
        np.savez(path, **{"000": objects, "notes": objects})
    if door is DOORS["checkpoint"]:
        path.write_bytes(checkpoint(path.read_bytes()))
    with pytest.raises(ValueError, match=path.name):
        door.read(tmp_path)
    assert not evil.exists()


GADGETS = {
    "function": lambda evil: pickle.dumps(Runs(evil)),
    "eval": lambda evil: b"cbuiltins\neval\n(V1\ntR.",
    "within NumPy": lambda evil: b"cnumpy.testing\nruncall\n(tR.",
    "attribute": lambda evil: b"\x80\x04cnumpy\nndarray.tofile\n.",
    "another encoding": lambda evil: pickle.dumps(_Encoded(), 2),
}


class _Encoded:
    def __reduce__(self):
        return codecs.encode, ("a", "rot13")


@pytest.mark.parametrize("name", GADGETS)
def test_pickles_of_images_call_nothing(name, tmp_path):
    path, evil = tmp_path / "data_batch_1", tmp_path / "evil"
    path.write_bytes(GADGETS[name](evil))
    with pytest.raises(ValueError, match="data_batch_1`: expected a pickle"):
        cifar_python.unpickle(path)
    assert not evil.exists()


def lambda_model():
    x = keras.Input((3,))
    return keras.Model(x, keras.layers.Lambda(lambda x: x + 1)(x))


def config_naming(module, name, *arguments):
    """Return a model's configuration that names a function to be called."""
    return {
        "module": module,
        "class_name": name,
        "config": arguments[0] if len(arguments) == 1 else list(arguments),
        "registered_name": None,
    }


def test_models_run_no_code_of_their_files(tmp_path):
    lambda_model().save(tmp_path / "net.keras")
    with pytest.raises(ValueError, match="net.keras.*Lambda"):
        snn.models.load_model(tmp_path / "net.keras")
    door, evil = DOORS["keras model"], str(tmp_path / "evil")
    path = tmp_path / door.file
    for function in (
        config_naming("os", "mkdir", evil),
        config_naming("builtins", "exec", f"open({evil!r}, 'w')"),
        config_naming("keras.utils", "get_file", evil),
        config_naming("keras.config", "enable_unsafe_deserialization"),
        config_naming("subprocess", "run", "false"),
        config_naming("keras.layers", "TFSMLayer", {"filepath": evil}),
    ):
        door.write(tmp_path)
        config = json.dumps(function).encode()
        change = keras_model(**{"config.json": config})
        path.write_bytes(change(path.read_bytes()))
        with pytest.raises(ValueError, match="net.keras"):
            door.read(tmp_path)
    assert not os.path.exists(evil)
    # It was not turned off by one of the files.
    lambda_model().save(tmp_path / "net.keras")
    with pytest.raises(ValueError, match="net.keras.*Lambda"):
        snn.models.load_model(tmp_path / "net.keras")


def test_older_files_of_whole_models_are_refused(tmp_path):
    path = tmp_path / "net.h5"
    with pytest.raises(ValueError, match="read from a `.keras` file.*net.h5"):
        snn.models.load_model(path)


# What only seems to be right -------------------------------------------------


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda x: x.update(history=[]), "'history' is no dict"),
        (lambda x: x.update(commands="a"), "'commands' is no list"),
        (lambda x: x["history"].update(loss=3), "'loss' of its history"),
        (lambda x: x["history"].update(loss=["a"]), "'loss' of its history"),
        (lambda x: x.pop("settings"), "settings"),
        (lambda x: x.update(ann={"history": {"loss": 1}}), "'loss' of"),
    ],
)
def test_records_have_what_is_read_of_them(change, message, tmp_path):
    damage.write_history(tmp_path)
    path = tmp_path / "history.json"
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))
    with pytest.raises(ValueError, match=f"not the record of.*{message}"):
        snn.training.records.read_record(tmp_path)


def test_checkpoints_without_notes_are_damaged(tmp_path):
    path = tmp_path / damage.CHECKPOINT
    content = zipped({"000000.npy": npy((1,), content=bytes(4))})
    path.write_bytes(checkpoint(content))
    with pytest.raises(ValueError, match="a checkpoint. Received: KeyError"):
        checkpoint_files.read(path)
