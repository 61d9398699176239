"""Batches of TFRecord files: all records, in an order one can go on with."""

import tracemalloc

import keras
import numpy as np
import pytest

import keras_snn as snn
from keras_snn.datasets.records import RecordFiles

tf = pytest.importorskip("tensorflow")

COUNTS = (5, 0, 7, 1)
SIZE = 4


@pytest.fixture
def files(tmp_path):
    """Files of unequal length, and all records in the order of their names."""
    rng, records = np.random.default_rng(0), []
    for number, count in enumerate(COUNTS):
        path = tmp_path / f"train-{number:05d}.tfrecord"
        with tf.io.TFRecordWriter(str(path)) as writer:
            for _ in range(count):
                x = rng.random(SIZE).astype("float32")
                records.append(np.float32([*x, len(records) % 3]).tobytes())
                writer.write(records[-1])
    return tmp_path / "train-*.tfrecord", records


def decode(record):
    values = np.frombuffer(record, "float32")
    return values[:SIZE], np.eye(3, dtype="float32")[int(values[SIZE])]


def batches_of(files, **kwargs):
    return snn.datasets.RecordBatches(files[0], decode, 4, **kwargs)


def epoch_of(batches):
    return [batches[i] for i in range(len(batches))]


def test_records_are_those_that_tensorflow_reads(files):
    pattern, records = files
    found = RecordFiles(pattern)
    paths = sorted(map(str, pattern.parent.glob(pattern.name)))
    assert found.files == paths
    theirs = [x.numpy() for x in tf.data.TFRecordDataset(paths)]
    assert list(found) == theirs == records
    assert found[-1] == records[-1]
    with pytest.raises(IndexError):
        found[len(records)]


def test_an_epoch_has_every_record_once_in_an_order_of_its_own(files):
    expected = np.stack([decode(x)[0] for x in files[1]])
    in_order = np.concatenate(
        [x for x, _ in epoch_of(batches_of(files, shuffle=False))]
    )
    np.testing.assert_array_equal(in_order, expected)
    orders = []
    for epoch in (0, 1):
        x, y = map(
            np.concatenate, zip(*epoch_of(batches_of(files, epoch=epoch)))
        )
        assert sorted(map(tuple, x)) == sorted(map(tuple, expected))
        labels = {decode(r)[0].tobytes(): decode(r)[1] for r in files[1]}
        for row, label in zip(x, y, strict=True):
            np.testing.assert_array_equal(label, labels[row.tobytes()])
        orders.append(x)
    assert not np.array_equal(*orders)
    again = np.concatenate([x for x, _ in epoch_of(batches_of(files, epoch=1))])
    np.testing.assert_array_equal(again, orders[1])


def model():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((SIZE,))
    x = snn.layers.RepeatEncoder(3)(inputs)
    x = snn.layers.TimeFold(keras.layers.Dense(3))(x)
    found = snn.Model(inputs, snn.layers.MembraneReadout()(x))
    found.compile(keras.optimizers.Adam(0.1), "mse")
    return found


def test_a_run_that_was_cut_off_goes_on_from_any_batch(files, tmp_path):
    whole = model()
    whole.fit(batches_of(files), epochs=3, shuffle=False, verbose=0)
    cut = model()
    batches = batches_of(files)
    cut.fit(batches, epochs=1, shuffle=False, verbose=0)
    assert batches.epoch == 1
    for index in range(3):
        cut.train_on_batch(*batches[index])
    cut.save(tmp_path / "cut.keras")
    on = keras.models.load_model(tmp_path / "cut.keras")
    batches = batches_of(files, epoch=1)
    assert len(batches.rest(3)) == len(batches) - 3
    on.fit(batches.rest(3), shuffle=False, verbose=0)
    assert batches.epoch == 1
    batches.epoch = 2
    on.fit(batches, epochs=3, initial_epoch=2, shuffle=False, verbose=0)
    for a, b in zip(on.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.skipif(
    keras.config.backend() == "jax", reason="Keras looks at the data before"
)
def test_workers_change_nothing(files):
    found = []
    for kwargs in ({}, {"workers": 3}):
        found.append(model())
        found[-1].fit(
            batches_of(files, **kwargs), epochs=2, shuffle=False, verbose=0
        )
    for a, b in zip(*(m.get_weights() for m in found), strict=True):
        np.testing.assert_array_equal(a, b)


def test_only_a_batch_is_in_memory(tmp_path):
    path = str(tmp_path / "large.tfrecord")
    with tf.io.TFRecordWriter(path) as writer:
        for _ in range(40):
            writer.write(bytes(500_000))
    tracemalloc.start()
    batches = snn.datasets.RecordBatches(
        path, lambda record: np.frombuffer(record, "uint8"), 2
    )
    for index in range(len(batches)):
        assert batches[index].shape == (2, 500_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4_000_000


@pytest.mark.parametrize("change", ["cut", "length", "header", "text"])
def test_damaged_files_are_named(files, change):
    path = files[0].parent / "train-00002.tfrecord"
    content = bytearray(path.read_bytes())
    if change == "cut":
        content = content[:-3]
    elif change == "length":
        content[2] ^= 1
    elif change == "header":
        content += b"12345"
    else:
        content = b"no records, but some text that is long enough"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="train-00002.tfrecord.*expected TFR"):
        batches_of(files)
    path.unlink()
    batches_of(files)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"files": "nowhere/*.tfrecord"}, "nowhere.*there is none"),
        ({"files": []}, "files without any"),
        ({"decode": None}, "`decode` must be a function"),
        ({"batch_size": 0}, "`batch_size`"),
        ({"shuffle": 1.5}, "`shuffle`"),
        ({"seed": -1}, "`seed`"),
        ({"epoch": -1}, "`epoch`"),
    ],
)
def test_wrong_arguments_are_named(files, arguments, message):
    with pytest.raises(ValueError, match=message):
        snn.datasets.RecordBatches(
            **{"files": files[0], "decode": decode, **arguments}
        )


@pytest.mark.parametrize("updates", [-1, 4, 1.5])
def test_a_rest_is_of_one_epoch(files, updates):
    with pytest.raises(ValueError, match="updates"):
        batches_of(files).rest(updates)
