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
    options = {"width": 1 / 8, "time_steps": 2, "limit": 32, "epochs": 1}
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


@pytest.mark.filterwarnings("ignore:.*encountered in")
def test_a_loss_that_is_no_number_ends_the_run(tmp_path):
    settings = small(
        learning_rate=1e30, optimizer="sgd", learning_rule="arctan"
    )
    with pytest.raises(ValueError, match="The loss is .* of epoch 1"):
        train(settings, tmp_path)
    assert json.loads((tmp_path / records.HISTORY).read_text())["history"] == {}
