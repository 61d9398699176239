"""A loss that is no number: it ends a run, which says where it began."""

import math
import warnings

import keras
import numpy as np

from keras_snn.network import read
from keras_snn.running.activity import Sequences
from keras_snn.training import checkpoints


class NotANumber(ValueError):
    """Ends a training whose loss is NaN or infinite.

    Attributes:
        epoch: The epoch, from 0.
        update: The update in it, from 0.
    """

    def __init__(self, message, epoch, update):
        super().__init__(message)
        self.epoch, self.update = epoch, update


class NaNCheck(keras.callbacks.Callback):
    """Ends a training whose loss is no finite number, or warns once an epoch.

    Args:
        on_nan: `"stop"` or `"warn"`.
    """

    def __init__(self, on_nan="stop"):
        super().__init__()
        self.on_nan = on_nan

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch, self._told = epoch, False

    def on_train_batch_end(self, batch, logs=None):
        loss = (logs or {}).get("loss", 0.0)
        if np.isfinite(loss) or self._told:
            return
        self._told = True
        lost = spoiled(self.model.trainable_variables)
        where = f" Weights that are none: {', '.join(lost)}." if lost else ""
        message = (
            f"The loss is {loss} at update {batch + 1} of epoch "
            f"{self._epoch + 1}.{where}"
        )
        if self.on_nan == "stop":
            raise NotANumber(message, self._epoch, batch)
        warnings.warn(f"{message} The run goes on.", stacklevel=2)


def spoiled(variables):
    """Return the layers with weights that are no finite numbers, in order."""
    return list(
        dict.fromkeys(
            v.path.rpartition("/")[0]
            for v in variables
            if not _is_finite(keras.ops.convert_to_numpy(v))
        )
    )


def where_it_began(model, batches, error, kept):
    """Return a sentence on the update, layer and time step it began at.

    The updates since the last state that was kept are made again, one by one,
    until the loss or a weight is no number; then the layers' outputs are
    looked through, with the weights before that update.

    Args:
        model: The compiled model. What it holds in the end is undefined.
        batches: The `AugmentedBatches` or alike, with an `epoch`.
        error: The `NotANumber`.
        kept: The `checkpoints.Kept` that the updates are made again from.
    """
    if kept is None or kept.position.epoch != error.epoch:
        return ""
    rate = _learning_rate(model)
    checkpoints.assign(checkpoints.variables_of(model), kept.arrays)
    if rate is not None:
        model.optimizer.learning_rate = rate
    batches.epoch = error.epoch
    for update in range(kept.position.update, error.update + 1):
        x, y = batches[update]
        before = [np.array(w) for w in model.get_weights()]
        loss = model.train_on_batch(x, y)
        loss = loss[0] if isinstance(loss, (list, tuple)) else loss
        lost = spoiled(model.trainable_variables)
        if lost or not np.isfinite(loss):
            model.set_weights(before)
            at = f"update {update + 1} of epoch {error.epoch + 1}"
            return f"It began at {at}: {_cause(model, x, lost)}."
    again = f"the {error.update + 1 - kept.position.update} updates"
    return f"It did not come again when {again} before were repeated."


def _learning_rate(model):
    """Return what callbacks have set, None where it is a schedule."""
    try:
        rate = float(model.optimizer.learning_rate)
        model.optimizer.learning_rate = rate
    except (TypeError, ValueError):
        return None
    return rate


def _cause(model, x, lost):
    """Return what is no number first, at the weights before an update."""
    if not _is_finite(x):
        return "the images of that batch hold numbers that are none"
    found = _first_output(model, x)
    if found is not None:
        return found
    if lost:
        return (
            "the outputs of all layers are numbers there, and the gradients "
            f"of {', '.join(lost)} are none"
        )
    return "the outputs of all layers are numbers there, and the loss is none"


def _first_output(model, x):
    """Return which layer's output is no number first, and when, or None."""
    network = read(model, "train")
    values = [v for node in network.nodes for v in node.outputs]
    found = Sequences(network, values).predict_on_batch(x)
    first, timeless = None, -1
    for order, (value, array) in enumerate(zip(values, found, strict=True)):
        if value.over_time:
            timeless = math.inf  # what has no time axis comes behind it
        if _is_finite(array):
            continue
        step = timeless
        if value.over_time:
            wrong = ~np.isfinite(np.asarray(array, "float32"))
            axes = (0, *range(2, wrong.ndim))
            step = int(wrong.any(axis=axes).argmax())
        if first is None or (step, order) < first[:2]:
            first = step, order, value, array
    if first is None:
        return None
    step, _, value, array = first
    kind = "NaN" if np.isnan(np.asarray(array, "float32")).any() else "infinite"
    when = ""
    if value.over_time:
        when = f" at time step {step + 1} of {array.shape[1]}"
    return f"the output of '{value.node.name}' is {kind}{when}"


def _is_finite(x):
    x = np.asarray(x)
    if x.dtype.kind in "biu":
        return True
    return bool(np.isfinite(x.astype("float32")).all())
