"""From settings to a compiled model."""

import contextlib
import math

import keras

from keras_snn import datasets, layers, losses, models, regularizers
from keras_snn.running import Model
from keras_snn.training.optimizers import sgd

LR_DROP_FACTOR = 0.2
LOSSES = {
    "squared_error": losses.SummedSquaredError,
    "cross_entropy": losses.CrossEntropy,
}
# Of the penalty of rates, for a loss that is a mean over the batch.
RATE_WEIGHT = 10.0


def build_model(settings):
    """Return the untrained, uncompiled model that the settings describe."""
    model = _build(
        settings,
        time_steps=settings.time_steps,
        encoder=settings.encoder,
        learning_rule=settings.learning_rule,
        beta=settings.beta,
    )
    if settings.spike_rate is None:
        return model
    weight = RATE_WEIGHT
    if settings.loss == "squared_error":
        weight *= settings.batch_size
    return penalized(model, settings.spike_rate, weight)


def penalized(model, upper, weight):
    """Return a model whose neurons pay for rates beyond `upper`."""
    quiet = regularizers.SpikeRate(upper=upper, weight=weight)
    for layer in model.layers:
        if isinstance(layer, layers.SpikingLayer):
            layer.activity_regularizer = quiet
    # Read once more, with its regularizers.
    return Model(model.input, model.output, name=model.name)


def build_ann(settings):
    """Return the same network with ReLUs, untrained and uncompiled."""
    return _build(settings, spiking=False)


@contextlib.contextmanager
def policy(name):
    """Within this scope layers are made with a dtype policy."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


class InFloat32:
    """What is saved of a model: one that computes in float32.

    Args:
        trained: The compiled model, built under the policy of its settings.
        settings: Its `Settings`.
        build: `build_model` or `build_ann`.
    """

    def __init__(self, trained, settings, build):
        self.trained = self._twin = trained
        if settings.dtype != "float32":
            with policy("float32"):
                self._twin = build(settings)
            self._twin.compile_from_config(trained.get_compile_config())

    def model(self):
        """Return the model, with the state that the trained one has now."""
        if self._twin is not self.trained:
            pairs = map(variables_of, (self._twin, self.trained))
            for ours, theirs in zip(*pairs, strict=True):
                ours.assign(theirs.value)
        return self._twin


def variables_of(model):
    """Return all variables that training changes, random states too."""
    return [*model.variables, *model.optimizer.variables]


def _build(settings, **options):
    info = datasets.info(settings.dataset)
    for name in ("norm", "dropout"):
        value = getattr(settings, name)
        if value is not None:
            options[name] = value
    return getattr(models, settings.model)(
        input_shape=info.input_shape,
        classes=info.classes,
        width=settings.width,
        seed=settings.seed,
        **options,
    )


def compile_model(model, settings, updates):
    """Compile the model with the optimizer and the loss of the settings.

    Args:
        updates: Their number in the whole run.
    """
    smoothing = {}
    if settings.label_smoothing:
        smoothing["label_smoothing"] = settings.label_smoothing
    model.compile(
        optimizer=_optimizer(settings, updates),
        loss=LOSSES[settings.loss](**smoothing),
        metrics=["accuracy"],
    )


def _optimizer(settings, updates):
    rate, decay = settings.learning_rate, settings.weight_decay
    average = {}
    if settings.ema:
        average = {"use_ema": True, "ema_momentum": settings.ema}
    if settings.optimizer == "nesterov":
        schedule = "cosine" if settings.cosine else "triangular"
        return sgd(
            rate, updates, schedule=schedule, weight_decay=decay, **average
        )
    make = {"sgd": keras.optimizers.SGD, "adam": keras.optimizers.Adam}
    return make[settings.optimizer](rate, weight_decay=decay or None, **average)


def learning_rate_at(epoch, settings):
    """Return the learning rate of an epoch, counted from 0.

    A function of the epoch alone, so that a resumed run continues it.
    """
    if settings.cosine:
        progress = epoch / settings.epochs
        return settings.learning_rate * (1 + math.cos(math.pi * progress)) / 2
    drops = sum(epoch >= drop for drop in settings.lr_drop)
    return settings.learning_rate * LR_DROP_FACTOR**drops
