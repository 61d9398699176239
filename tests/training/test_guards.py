"""What a run is kept from: a second one in its folder, and endless NaN."""

import json
import subprocess
import sys

import keras
import pytest

from keras_snn.training import recipe, records, train

HOLD = """
import sys
from keras_snn.training import records
with records.locked(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


def small(**given):
    options = {"norm": "batch", "width": 0.2, "limit": 32, "epochs": 1}
    return recipe("lenet", "digits", **{**options, **given})


def test_a_folder_belongs_to_one_run_until_its_process_ends(tmp_path):
    pytest.importorskip("fcntl")
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdout.readline() == "held\n"
    with pytest.raises(ValueError, match="Another run is writing into"):
        with records.locked(tmp_path):
            pass
    other.kill()
    other.communicate()
    with records.locked(tmp_path):
        assert (tmp_path / records.LOCK).exists()


def test_train_holds_its_folder(tmp_path):
    pytest.importorskip("fcntl")
    tried = []

    class Intruder(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            try:
                train(small(), tmp_path, overwrite=True)
            except ValueError as error:
                tried.append(str(error))

    record = train(small(), tmp_path, callbacks=lambda _: [Intruder()])
    assert record["status"] == "finished"
    assert len(tried) == 1 and "Another run" in tried[0]


class Spoil(keras.callbacks.Callback):
    """Makes a weight NaN before the second update."""

    def on_train_batch_begin(self, batch, logs=None):
        if batch == 1:
            last = self.model.trainable_variables[-1]
            last.assign(last * float("nan"))


def test_a_loss_that_is_no_number_ends_the_run(tmp_path):
    text = "The loss is nan at update 2 of epoch 1. .* none: "
    with pytest.raises(ValueError, match=text):
        train(small(batch_size=8), tmp_path, callbacks=lambda _: [Spoil()])
    assert json.loads((tmp_path / records.HISTORY).read_text())["history"] == {}
