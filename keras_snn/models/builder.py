"""The signature and the docstring that all network builders share."""

import dataclasses

from keras_snn.models import blocks

_DOC = """{summary}

    Arguments are in the order of `keras.applications`. The model takes
    images, `(batch, height, width, channels)`, and returns class scores,
    `(batch, classes)`; `get_weights()` lists the kernels in forward order,
    a block's convolutions before its shortcut. Without normalization no
    synapse has a bias.

    Args:
        include_top: Whether to end in the dense layers and the readout.
            False returns the last block's spikes, axes
            `(batch, time, height, width, channels)`.
        weights: None for random weights, or the path of a `.weights.h5` or
            `.keras` file.
        input_tensor: Symbolic Keras tensor to build on.
        input_shape: `(height, width, channels)`, without batch and time.
            Defaults to `{input_shape}`.
        classes: Number of classes.
        time_steps: Number of steps T. None, any T, goes with `encoder=None`.
        encoder: `"poisson"`, `"rate"`, `"latency"`, `"repeat"`, an encoder
            layer, or None if the input is a spike train already,
            `(batch, time, height, width, channels)`.
        learning_rule: `"rate"`, `"collapsed"`, `"exact"`, or a surrogate; see
            `keras_snn.layers.LIF`.
        norm: `"none"`, the paper's network: no normalization, and pooling of
            spikes into neurons; `"batch"`: batch normalization of all
            currents over batch and time, and pooling of currents before it;
            `"weight"`: the same with standardized weights
            (`keras_snn.layers.StandardizedConv2D`) instead of statistics of
            the batch. Deep networks learn at few steps with one of the two.
            Their neurons are reset by subtraction. None is this network's
            default, {norm}.
        beta: Decay per step of neurons and readout, in (0, 1].
        dropout: Fraction of each spiking layer that is dropped in training,
            the same neurons at all steps. None is this network's published
            value, {dropout}.
        width: Multiplies every channel count.
        seed: Integer for reproducible weights, noise and dropout.

    Returns:
        A functional `keras_snn.Model`.

    Raises:
        ValueError: For arguments out of range, or an image too small for the
            network's poolings.

    References:
        - {reference}
    """

LEE = (
    "[Lee et al., 2020](https://doi.org/10.3389/fnins.2020.00119), Frontiers\n"
    "          in Neuroscience 14:119"
)


@dataclasses.dataclass(frozen=True)
class Defaults:
    """What a network is built with unless told otherwise."""

    input_shape: tuple = (32, 32, 3)
    time_steps: int = 25
    encoder: str = "poisson"
    learning_rule: str = "collapsed"
    beta: float = 0.99
    dropout: float = 0.0
    gain: float = 2.0
    norm: str = "none"
    normalized_top: bool = True
    max_rate: float = 1.0


def make_builder(name, network, summary, defaults=Defaults(), reference=LEE):
    """Return a builder in the style of `keras.applications`.

    Args:
        name: Name of the builder; in lower case, the model's.
        network: Function of `(spikes, settings, include_top, classes)` that
            returns the network's output.
        summary: First lines of the builder's docstring.
        defaults: What is used for arguments that are not given.
        reference: The paper of the architecture.
    """

    def build(
        include_top=True,
        weights=None,
        input_tensor=None,
        input_shape=None,
        classes=10,
        *,
        time_steps=defaults.time_steps,
        encoder=defaults.encoder,
        learning_rule=defaults.learning_rule,
        norm=None,
        beta=defaults.beta,
        dropout=None,
        width=1.0,
        seed=None,
    ):
        if not isinstance(include_top, bool):
            raise ValueError(
                "`include_top` must be True or False. Received: include_top="
                f"{include_top!r}. It is the first argument, as in "
                f"keras.applications; write e.g. {name}(input_shape="
                f"{defaults.input_shape}, classes=10)."
            )
        settings = blocks.BlockOptions(
            learning_rule=learning_rule,
            beta=beta,
            dropout=defaults.dropout if dropout is None else dropout,
            width=width,
            seed=seed,
            gain=defaults.gain,
            norm=defaults.norm if norm is None else norm,
            normalized_top=defaults.normalized_top,
        )
        classes = blocks.check_classes(classes)
        inputs, spikes = blocks.encoded_input(
            input_tensor,
            input_shape,
            defaults.input_shape,
            time_steps,
            encoder,
            settings.seed,
            defaults.max_rate,
        )
        outputs = network(spikes, settings, include_top, classes)
        return blocks.finish(inputs, outputs, name.lower(), weights)

    build.__name__ = build.__qualname__ = name
    build.__module__ = "keras_snn.models"
    build.__doc__ = _DOC.format(
        summary=summary,
        input_shape=defaults.input_shape,
        dropout=defaults.dropout or "none",
        norm=f'`"{defaults.norm}"`',
        reference=reference,
    )
    return build
