"""From settings to a compiled model."""

import math

import keras

from keras_snn import datasets, losses, models

LR_DROP_FACTOR = 0.2
LOSSES = {
    "squared_error": losses.SummedSquaredError,
    "cross_entropy": losses.CrossEntropy,
}


def build_model(settings):
    """Return the untrained, uncompiled model that the settings describe."""
    info = datasets.info(settings.dataset)
    options = {}
    if settings.norm is not None:
        options["norm"] = settings.norm
    if settings.dropout is not None:
        options["dropout"] = settings.dropout
    return getattr(models, settings.model)(
        input_shape=info.input_shape,
        classes=info.classes,
        time_steps=settings.time_steps,
        encoder=settings.encoder,
        learning_rule=settings.learning_rule,
        beta=settings.beta,
        width=settings.width,
        seed=settings.seed,
        **options,
    )


def compile_model(model, settings):
    """Compile the model with the optimizer and the loss of the settings."""
    make = {"sgd": keras.optimizers.SGD, "adam": keras.optimizers.Adam}
    model.compile(
        optimizer=make[settings.optimizer](
            settings.learning_rate,
            weight_decay=settings.weight_decay or None,
        ),
        loss=LOSSES[settings.loss](),
        metrics=["accuracy"],
    )


def learning_rate_at(epoch, settings):
    """Return the learning rate of an epoch, counted from 0.

    A function of the epoch alone, so that a resumed run continues it.
    """
    if settings.cosine:
        progress = epoch / settings.epochs
        return settings.learning_rate * (1 + math.cos(math.pi * progress)) / 2
    drops = sum(epoch >= drop for drop in settings.lr_drop)
    return settings.learning_rate * LR_DROP_FACTOR**drops
