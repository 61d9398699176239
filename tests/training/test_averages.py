"""Runs whose averaged weights are evaluated and saved."""

import keras
import numpy as np
import pytest

from keras_snn.training import recipe, train

SMALL = {
    "width": 1 / 16,
    "limit": 64,
    "batch_size": 16,
    "epochs": 3,
    "norm": "weight",  # no statistics that would have to settle first
    "ema": 0.8,
}


def small(**given):
    return recipe("vgg5", "digits", **{**SMALL, **given})


class Kill(keras.callbacks.Callback):
    """Ends the training as Ctrl-C does, in the middle of an epoch."""

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if self.epoch == 1 and batch == 1:
            raise KeyboardInterrupt


def weights_of(folder):
    return keras.saving.load_model(folder / "best.keras").get_weights()


def test_averages_are_what_is_saved_and_measured(tmp_path):
    averaged = train(small(epochs=1), tmp_path / "a")
    plain = train(small(epochs=1, ema=0.0), tmp_path / "b")
    assert averaged["settings"]["ema"] == 0.8
    # The same updates, another result.
    assert averaged["history"]["loss"] == plain["history"]["loss"]
    assert averaged["history"]["val_loss"] != plain["history"]["val_loss"]
    pairs = zip(weights_of(tmp_path / "a"), weights_of(tmp_path / "b"))
    assert any(np.any(a != b) for a, b in pairs)


def test_a_resumed_run_goes_on_from_the_weights_not_their_averages(tmp_path):
    whole = train(small(), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(
            small(),
            tmp_path / "killed",
            callbacks=lambda _: [Kill()],
            checkpoint_every=1,
        )
    resumed = train(small(), tmp_path / "killed", resume=True)
    for name in ("loss", "val_loss"):
        assert resumed["history"][name] == whole["history"][name]


@pytest.mark.parametrize("ema", [1.0, -0.1])
def test_a_momentum_out_of_range_is_refused(ema):
    with pytest.raises(ValueError, match="`ema` must lie in"):
        small(ema=ema)
