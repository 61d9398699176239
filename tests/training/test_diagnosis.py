"""A loss that is no number: where it began is said, or the run goes on."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_snn as snn
from keras_snn.training import checkpoint_files as files
from keras_snn.training import (
    checkpoints,
    diagnosis,
    fitting,
    recipe,
    train,
)
from tests.training import test_resuming

TimeFold, Dense = snn.layers.TimeFold, keras.layers.Dense


def network():
    keras.utils.set_random_seed(0)
    x = keras.Input((3, 4))
    y = TimeFold(Dense(5, kernel_initializer="ones"), name="first")(x)
    y = snn.layers.LIF(0.5, learning_rule="arctan", name="lif")(y)
    y = TimeFold(Dense(2), name="second")(y)
    return snn.Model(x, snn.layers.MembraneReadout(name="readout")(y))


class Batches:
    """Four batches of two samples each."""

    epoch = 0

    def __init__(self, x):
        self.x, self.y = x, np.zeros((2, 2), "float32")

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return self.x[index], self.y


def images():
    return np.ones((4, 2, 3, 4), "float32")


def told(batches, loss="mse", update=3, begin=0, rate=1e-4):
    """Return what is said of a run that failed at an update, from 0."""
    model = network()
    model.compile(keras.optimizers.SGD(rate), loss)
    model.optimizer.build(model.trainable_variables)
    variables = checkpoints.variables_of(model)
    arrays = [np.array(ops.convert_to_numpy(v)) for v in variables]
    kept = checkpoints.Kept(files.Position(0, begin), arrays)
    # What a failed run leaves behind.
    model.set_weights([np.full_like(w, np.nan) for w in model.get_weights()])
    error = diagnosis.NotANumber("The loss is nan.", 0, update)
    return diagnosis.where_it_began(model, batches, error, kept)


def test_the_layer_and_the_time_step_are_named():
    x = images()
    x[2, 1, 1] = 2e38  # four of them are more than float32 holds
    assert told(Batches(x)) == (
        "It began at update 3 of epoch 1: the output of 'first' is infinite "
        "at time step 2 of 3."
    )


def test_images_that_are_no_numbers_are_named():
    x = images()
    x[1, 0, 0, 0] = np.nan
    said = told(Batches(x), begin=1)
    assert said == (
        "It began at update 2 of epoch 1: the images of that batch hold "
        "numbers that are none."
    )


def no_gradient(y_true, y_pred):
    """0, with a derivative of 0 times infinity."""
    return ops.sum(ops.sqrt(ops.square(y_pred) * 0.0), axis=-1)


def test_gradients_that_are_no_numbers_are_named():
    said = told(Batches(images()), no_gradient)
    assert said.startswith("It began at update 1 of epoch 1: the outputs of")
    assert "the gradients of " in said and "dense" in said


def no_loss(y_true, y_pred):
    return ops.sum(y_pred * 0.0, axis=-1) + np.nan


def test_a_loss_that_is_none_of_outputs_that_are_is_named():
    said = told(Batches(images()), no_loss, rate=0.0)
    assert "update 1 of epoch 1" in said


def test_what_does_not_come_again_is_said():
    said = told(Batches(images()))
    assert said == (
        "It did not come again when the 4 updates before were repeated."
    )


def test_updates_of_another_epoch_are_not_repeated():
    error = diagnosis.NotANumber("", 2, 1)
    kept = checkpoints.Kept(files.Position(1, 0), [])
    assert diagnosis.where_it_began(network(), None, error, kept) == ""
    assert diagnosis.where_it_began(network(), None, error, None) == ""


def overflowing(settings):
    """Return a network whose last currents overflow on any image."""
    x = keras.Input((8, 8, 1))
    y = snn.layers.RepeatEncoder(3)(x)
    y = TimeFold(keras.layers.Flatten())(y)
    y = TimeFold(Dense(10, kernel_initializer="ones"), name="much")(y)
    y = snn.layers.IF(learning_rule="arctan")(y)
    y = TimeFold(Dense(10, kernel_initializer="ones"))(y)
    y = TimeFold(keras.layers.Rescaling(1e38), name="more")(y)
    return snn.Model(x, snn.layers.MembraneReadout(1.0)(y))


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setattr(fitting, "build_model", overflowing)
    monkeypatch.setattr(fitting, "compile_model", test_resuming.compile_eagerly)
    monkeypatch.setattr(fitting, "_export", lambda *_: [])


SETTINGS = {"limit": 12, "batch_size": 4, "epochs": 1, "time_steps": 3}
SETTINGS |= {"scale": False}


def test_a_run_ends_and_says_where_it_began(tiny, tmp_path):
    with pytest.raises(ValueError) as error:
        train(recipe("vgg5", "digits", **SETTINGS), tmp_path)
    said = " ".join(str(error.value).split())
    assert "The loss is " in said and " at update 1 of epoch 1." in said
    assert (
        "It began at update 1 of epoch 1: the output of 'more' is infinite at "
        "time step 1 of 3. Lower the learning rate" in said
    )


def test_a_run_may_go_on(tiny, tmp_path):
    settings = recipe("vgg5", "digits", **SETTINGS)
    with pytest.warns(UserWarning, match="The loss is .* The run goes on"):
        record = train(settings, tmp_path, on_nan="warn")
    assert record["status"] == "finished"


def test_on_nan_is_one_of_two(tmp_path):
    with pytest.raises(ValueError, match='`on_nan` must be "stop".*on_nan=3'):
        train(recipe("vgg5", "digits"), tmp_path, on_nan=3)
