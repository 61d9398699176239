"""The signature and the docstring that all network builders share."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol, cast

from keras_snn import checks
from keras_snn.models import blocks, files, pretrained
from keras_snn.neurons import learning_rules
from keras_snn.typing import LearningRule, Model, Norm, Path, Shape

_DOC = """{summary}

    Arguments are in the order of `keras.applications`. The model takes
    images, `(batch, height, width, channels)`, and returns class scores,
    `(batch, classes)`; `get_weights()` lists the kernels in forward order,
    a block's convolutions before its shortcut. Without normalization no
    synapse has a bias.
{note}
    Args:
        include_top: Whether to end in the dense layers and the readout.
            False returns the last block's spikes, axes
            `(batch, time, height, width, channels)`; of `SEWResNet18` their
            sums, and without time with `spiking=False`.
        weights: None for random weights,{weights} or the path of a
            `.weights.h5`, `.keras` or `.npz` file. Named ones bring their
            width and normalization, and their input where that is left out.
        input_tensor: Symbolic Keras tensor to build on. The model starts
            where it does, and has the layers before it.
        input_shape: `(height, width, channels)`, without batch and time.
            Defaults to `{input_shape}`.
        classes: Number of classes.
        time_steps: Number of steps T. `"auto"` (default) is
            {time_steps}.
            None, any T, goes with `encoder=None`. An encoder layer, or an
            `input_tensor` with a time axis, has its own.
        encoder: `"poisson"`, `"rate"`, `"latency"`, `"repeat"`, an encoder
            layer, or None if the input is a spike train already,
            `(batch, time, height, width, channels)`. `"auto"` (default) is
            {encoder}.
        learning_rule: `"rate"`, `"collapsed"`, `"exact"`, or a surrogate; see
            `keras_snn.layers.LIF`. The first two see means over time: of
            events, whose steps differ, a surrogate learns more. Defaults to
            {learning_rule}.
        norm: `"none"`, as in the paper: no normalization, and pooling of
            spikes into neurons; `"batch"`: batch normalization of all
            currents over batch and time, and pooling of currents before it;
            `"weight"`: the same with standardized weights
            (`keras_snn.layers.StandardizedConv2D`) instead of statistics of
            the batch. Deep networks learn at few steps with one of the two.
            Their neurons are reset by subtraction, and their readout does
            not leak. Defaults to
            {norm}.
        beta: Decay per step of the neurons, in (0, 1], and of the readout
            without normalization. Defaults to
            {beta}.
        dropout: Fraction of each spiking layer that is dropped in training,
            the same neurons at all steps. Defaults to
            {dropout}.
        width: Multiplies every channel count. Defaults to 1, or to what
            trained weights were trained with.
        seed: Integer for reproducible weights, noise and dropout.
        spiking: False builds the same network with ReLUs instead of neurons,
            a `keras.Model` without encoder, time and readout. The spiking
            network takes its weights one to one:
            `spiking.set_weights(ann.get_weights())`.

    Returns:
        A functional `keras_snn.Model`; with `spiking=False` a `keras.Model`.

    Raises:
        ValueError: For arguments out of range, an image too small for the
            network's poolings, or arguments of spikes with `spiking=False`.

    References:
        - {reference}
    """

_PAPER_NOTE = """
    As called without arguments it is made to learn at few time steps: train
    it with `keras_snn.losses.CrossEntropy` and `keras_snn.training.sgd`. With
    `norm="none"`, or one of the paper's rules (`"exact"`, `"collapsed"`) and
    no `norm`, it is the paper's network, with the paper's settings.
"""
_NORM_NOTE = """
    As called without arguments it is the paper's network. With `norm="batch"`
    (as the weights that come with the package have it) or `"weight"` it is
    made to learn at few time steps: its defaults are then T = 4, `"repeat"`,
    `"rate"` and `beta=0.5`.
"""

LEE = (
    "[Lee et al., 2020](https://doi.org/10.3389/fnins.2020.00119), Frontiers\n"
    "          in Neuroscience 14:119"
)


@dataclasses.dataclass(frozen=True)
class Setup:
    """Arguments of a network that suit each other."""

    time_steps: int
    encoder: str
    learning_rule: str
    beta: float
    norm: str
    dropout: float = 0.0


PAPER = Setup(25, "poisson", "collapsed", 0.99, "none")
FEW_STEPS = Setup(4, "repeat", "rate", 0.5, "batch")


@dataclasses.dataclass(frozen=True)
class Defaults:
    """What a network is built with unless told otherwise.

    Attributes:
        setup: What is used.
        paper: What is used for the paper's network instead, by name: without
            normalization. None if no paper has it so.
    """

    input_shape: tuple = (32, 32, 3)
    setup: Setup = FEW_STEPS
    paper: Setup | None = PAPER
    gain: float = 2.0
    max_rate: float = 1.0

    @property
    def has_paper(self):
        """Whether the paper's network is another than the one of defaults."""
        return self.paper not in (None, self.setup)

    @property
    def note(self):
        """What the documentation says of the network as called."""
        if self.has_paper:
            return _PAPER_NOTE
        return _NORM_NOTE if self.setup == PAPER else ""

    def of(self, learning_rule, norm):
        """Return the setup for a rule and a normalization, None if not given.

        The paper's rules without a normalization are the paper's network;
        with one, any network is for few steps.
        """
        if norm in ("batch", "weight"):
            return FEW_STEPS
        by_rule = norm is None and learning_rule in ("exact", "collapsed")
        if self.paper is not None and (norm == "none" or by_rule):
            return self.paper
        return self.setup

    def described(self):
        """Return the text on each argument's default by its name."""
        texts = {}
        for field in dataclasses.fields(Setup):
            value = _written(field.name, getattr(self.setup, field.name))
            if self.has_paper:
                other = _written(field.name, getattr(self.paper, field.name))
                if other != value:
                    value += f" ({other} in the paper's network)"
            texts[field.name] = value
        return texts


def _written(name, value):
    if name == "dropout" and not value:
        return "none"
    return f'`"{value}"`' if isinstance(value, str) else f"{value}"


class Builder(Protocol):
    """What `make_builder` returns, as type checkers know it."""

    __name__: str
    defaults: Defaults

    def __call__(
        self,
        include_top: bool = True,
        weights: Path | None = None,
        input_tensor: Any = None,
        input_shape: Shape | None = None,
        classes: int = 10,
        *,
        time_steps: int | str | None = "auto",
        encoder: Any = "auto",
        learning_rule: LearningRule | None = None,
        norm: Norm | None = None,
        beta: float | None = None,
        dropout: float | None = None,
        width: float | None = None,
        seed: int | None = None,
        spiking: bool = True,
    ) -> Model: ...


def make_builder(
    name: str,
    network: Callable[..., Any],
    summary: str,
    defaults: Defaults = Defaults(),
    reference: str = LEE,
) -> Builder:
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
        include_top: bool = True,
        weights: Path | None = None,
        input_tensor: Any = None,
        input_shape: Shape | None = None,
        classes: int = 10,
        *,
        time_steps: int | str | None = "auto",
        encoder: Any = "auto",
        learning_rule: LearningRule | None = None,
        norm: Norm | None = None,
        beta: float | None = None,
        dropout: float | None = None,
        width: float | None = None,
        seed: int | None = None,
        spiking: bool = True,
    ) -> Model:
        if not isinstance(include_top, bool):
            raise ValueError(
                "`include_top` must be True or False. Received: include_top="
                f"{include_top!r}. It is the first argument, as in "
                f"keras.applications; write e.g. {name}(input_shape="
                f"{defaults.input_shape}, classes=10)."
            )
        checks.flag("spiking", spiking)
        if norm is not None:
            checks.choice("norm", norm, blocks.NORMS)
        if learning_rule is not None:
            learning_rules.get(learning_rule)
        asked = None if _is_auto(time_steps) else time_steps
        if not spiking:
            _check_no_spikes(name, time_steps, encoder, learning_rule, beta)
        if pretrained.find(name, weights):
            needed = {"width": width, "norm": norm}
            if include_top:
                needed["classes"] = classes
            needed = pretrained.check_arguments(name, weights, needed)
            width = needed.get("width", width)
            norm = needed.get("norm", norm)
            trained_on = pretrained.inputs(name, weights)
            if input_tensor is None and input_shape is None:
                input_shape = trained_on.get("input_shape")
            if _is_auto(time_steps):
                time_steps = trained_on.get("time_steps", time_steps)
            if _is_auto(encoder):
                encoder = trained_on.get("encoder", encoder)
        setup = defaults.of(learning_rule, norm)

        def given(value, field):
            return getattr(setup, field) if value is None else value

        settings = blocks.BlockOptions(
            learning_rule=given(learning_rule, "learning_rule"),
            beta=given(beta, "beta"),
            dropout=given(dropout, "dropout"),
            width=1.0 if width is None else width,
            seed=seed,
            gain=defaults.gain,
            norm=given(norm, "norm"),
            spiking=bool(spiking),
        )
        classes = blocks.check_classes(classes)
        inputs, x = blocks.network_input(
            input_tensor,
            input_shape,
            defaults.input_shape,
            setup.time_steps if _is_auto(time_steps) else time_steps,
            setup.encoder if _is_auto(encoder) else encoder,
            settings,
            defaults.max_rate,
        )
        blocks.check_time_steps(asked, x)
        outputs = network(x, settings, include_top, classes)
        model = blocks.finish(inputs, outputs, name.lower(), settings)
        if pretrained.find(name, weights):
            pretrained.load(model, name, weights, include_top)
        elif weights is not None:
            files.load_weights_of_argument(
                model, weights, pretrained.names(name), include_top
            )
        return model

    build.__name__ = build.__qualname__ = name
    build.__module__ = "keras_snn.models"
    builder = cast(Builder, build)
    builder.defaults = defaults
    builder.__doc__ = _DOC.format(
        summary=summary,
        input_shape=defaults.input_shape,
        reference=reference,
        weights=_trained(pretrained.names(name)),
        note=defaults.note,
        **defaults.described(),
    )
    return builder


def _trained(names):
    """Return what the documentation says of a builder's trained weights."""
    texts = []
    for name in names:
        dataset, _, sparse = name.partition("_")
        how = f"on {dataset} to fewer spikes" if sparse else "on it"
        texts.append(f"""
            `"{name}"` for those trained {how},""")
    return "".join(texts) + ("\n           " if texts else "")


def _is_auto(value):
    return isinstance(value, str) and value == "auto"


def _check_no_spikes(name, time_steps, encoder, learning_rule, beta):
    given = {
        "time_steps": not _is_auto(time_steps),
        "encoder": not _is_auto(encoder),
        "learning_rule": learning_rule is not None,
        "beta": beta is not None,
    }
    named = [argument for argument, is_given in given.items() if is_given]
    if named:
        raise ValueError(
            f"{name}(spiking=False) is a network of ReLUs on images, which has "
            f"no {', no '.join(f'`{x}`' for x in named)}. Leave "
            f"{'it' if len(named) == 1 else 'them'} out."
        )
