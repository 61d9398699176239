"""The settings of one training run, and where their defaults come from."""

from dataclasses import asdict, dataclass, field, fields
from numbers import Integral, Real
from typing import Any

MODELS = (
    "LeNet",
    "VGG5",
    "VGG7",
    "VGG8",
    "VGG9",
    "VGG11",
    "VGG16",
    "ResNet7",
    "ResNet9",
    "ResNet11",
    "ResNet19",
    "SEWResNet18",
    "SpikingCNN",
)
OPTIMIZERS = ("sgd", "adam", "nesterov")
ENCODERS = ("poisson", "rate", "latency", "repeat")
LOSSES = ("squared_error", "cross_entropy")
DTYPES = ("float32", "mixed_bfloat16")


def model_name(name):
    """Return the builder's name, `"LeNet"`, for `name` in any case."""
    known = {builder.lower(): builder for builder in MODELS}
    if str(name).lower() not in known:
        raise ValueError(
            f"Unknown model {name!r}. Expected one of: {', '.join(MODELS)} "
            "(in upper or lower case)."
        )
    return known[str(name).lower()]


def _setting(default, panel, help, **more):
    """Return a field, with what the command line says of its option.

    Args:
        default: Its default.
        panel: Heading that the option stands under.
        help: What the option does; of a bool, what changing the default does.
        **more: Further arguments of the option.
    """
    metadata = {"rich_help_panel": panel, "help": help, **more}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Settings:
    """What defines a training run, apart from where its files are.

    Use `keras_snn.training.recipe` to get settings whose defaults suit the
    model and the dataset; the defaults here are those of LeNet on MNIST.

    Args:
        model: name of a builder in `keras_snn.models`, in any case.
        dataset: name of a dataset in `keras_snn.datasets`.
        time_steps: number of simulation steps per image.
        epochs: number of passes over the training set.
        batch_size: images per update.
        optimizer: `"sgd"` (without momentum), `"nesterov"`
            (`keras_snn.training.sgd`: with momentum, and a rate that rises and
            falls with every update) or `"adam"`.
        learning_rate: step size. With `"squared_error"` the gradient is a sum
            over the batch: the same SGD rate at twice the batch size moves
            the weights equally far per epoch.
        weight_decay: decoupled weight decay (times the learning rate).
        label_smoothing: part of the labels that `"cross_entropy"` spreads over
            all classes, in [0, 1).
        ema: momentum in [0, 1) of a moving average of the weights, updated
            with every batch, which is what is evaluated and saved; 0 for the
            weights themselves. 0.99 averages some hundred updates.
        lr_drop: epochs after which the rate is multiplied by 0.2.
        cosine: whether the rate falls to zero along a half cosine instead.
        loss: `"squared_error"`, summed over classes and batch as in the
            paper, or `"cross_entropy"`, a mean over the batch.
        learning_rule: `"rate"`, `"collapsed"`, `"exact"` or the name of a
            surrogate.
        spike_rate: highest rate of a neuron without penalty, in spikes a
            step, in [0, 1], see `keras_snn.regularizers.SpikeRate`, whose
            penalty the validation loss has, too; or `None`.
        norm: `"none"`, `"batch"` or `"weight"`, see the model's builder;
            `None` for the default of the model.
        encoder: `"poisson"`, `"rate"`, `"latency"` or `"repeat"`.
        beta: decay of the membrane potential per step, in (0, 1].
        dropout: rate of the dropout after each LIF layer, or `None` for the
            default of the model.
        width: factor on the number of channels of every layer.
        validation_split: share of the training set that is held out and
            watched during training. 0 watches the test set.
        augment: whether images are augmented in training: those of CIFAR and
            SVHN as published, others where `shift` or `cutout` is set, as by
            the recipe for few steps.
        shift: most pixels that an augmented image is shifted by, mirrored at
            its border; `None` for the published crop of the dataset.
        cutout: side of the square that is hidden of an augmented image.
        scale: whether the weights of layers that are silent before the first
            update are scaled until they fire, see
            `keras_snn.models.scale_to_rate`.
        ann_epochs: epochs in which the same network with ReLUs is trained
            first, whose weights the spiking network starts from.
        from_ann: `.keras` file of such a network, from the same builder with
            `spiking=False`, or of the spiking network with another number of
            steps; or `None`.
        limit: use only the first `limit` training and test images.
        dtype: policy that the network is trained under, `"float32"` or
            `"mixed_bfloat16"`. What is saved, and measured in the end,
            computes in float32.
        seed: seed of the weights, the shuffling and the spikes.
    """

    model: str = _setting(
        "LeNet",
        "Network",
        "LeNet, VGG5/7/8/9/11/16, ResNet7/9/11/19, SEWResNet18 or SpikingCNN, "
        "in any case.",
    )
    dataset: str = _setting(
        "mnist",
        "Data",
        "digits, mnist, fashion_mnist, svhn, cifar10 or cifar100.",
    )
    time_steps: int = _setting(25, "Network", "Simulation steps per image.")
    epochs: int = _setting(5, "Training", "Passes over the training set.")
    batch_size: int = _setting(64, "Training", "Images per update.")
    optimizer: str = _setting(
        "sgd",
        "Training",
        "sgd (without momentum), nesterov (with a triangular schedule) or "
        "adam.",
    )
    learning_rate: float = _setting(
        0.0085,
        "Training",
        "Step size; of squared_error the gradient is summed over the batch.",
    )
    weight_decay: float = _setting(5e-4, "Training", "Decoupled weight decay.")
    ema: float = _setting(
        0.0,
        "Training",
        "Momentum of an average of the weights, as 0.99, that is evaluated "
        "and saved instead of them.",
    )
    lr_drop: tuple = _setting(
        (),
        "Training",
        "Epochs after which the rate is multiplied by 0.2, as 70,100; "
        "none for no drop.",
        metavar="EPOCHS",
    )
    cosine: bool = _setting(
        False, "Training", "Let the rate fall to zero along a cosine."
    )
    loss: str = _setting(
        "squared_error",
        "Training",
        "squared_error, summed over the batch, or cross_entropy, its mean.",
    )
    label_smoothing: float = _setting(
        0.0, "Training", "Part of the labels spread over all classes."
    )
    learning_rule: str = _setting(
        "collapsed",
        "Training",
        "rate, collapsed, exact, or a surrogate such as arctan.",
    )
    spike_rate: float | None = _setting(
        None,
        "Training",
        "Rate beyond which a neuron's spikes are penalized, as 0.05: fewer "
        "spikes for some accuracy.",
    )
    norm: str | None = _setting(
        None, "Network", "Normalization of currents: none, batch or weight."
    )
    encoder: str = _setting(
        "poisson", "Network", "poisson, rate, latency or repeat."
    )
    beta: float = _setting(
        0.99,
        "Network",
        "Decay of the membrane potential per step, in (0, 1].",
    )
    dropout: float | None = _setting(
        None, "Network", "Dropout rate after each LIF layer."
    )
    width: float = _setting(
        1.0, "Network", "Factor on the channels of every layer."
    )
    validation_split: float = _setting(
        0.0,
        "Data",
        "Share of the training set that is held out, watched during "
        "training, and used to choose the best epoch. 0 watches the "
        "test set.",
    )
    augment: bool = _setting(True, "Data", "Train on images as they are.")
    shift: int | None = _setting(
        None, "Data", "Most pixels that an augmented image is shifted by."
    )
    cutout: int = _setting(
        0, "Data", "Side of the square hidden of an augmented image."
    )
    scale: bool = _setting(
        True, "Network", "Leave the weights of silent layers as they are."
    )
    ann_epochs: int = _setting(
        0, "Training", "First train the network with ReLUs, so many epochs."
    )
    from_ann: str | None = _setting(
        None,
        "Training",
        "Start from the weights of a .keras file of the network with ReLUs, "
        "or of the spiking one at other time steps.",
        metavar="FILE",
    )
    limit: int | None = _setting(
        None, "Data", "Use only the first LIMIT training and test images."
    )
    dtype: str = _setting(
        "float32",
        "Training",
        "float32, or mixed_bfloat16: faster where the device has it; what is "
        "saved computes in float32.",
    )
    seed: int = _setting(0, "Training", "Of the weights, shuffling and spikes.")

    def __post_init__(self):
        object.__setattr__(self, "model", model_name(self.model))
        check_fields(vars(self))
        object.__setattr__(self, "lr_drop", tuple(self.lr_drop))
        self._check_combinations()

    def _check_combinations(self):
        if self.cosine and self.lr_drop:
            raise ValueError(
                "`cosine` and `lr_drop` are two schedules for one learning "
                f"rate. Received: cosine=True, lr_drop={self.lr_drop}. "
                "Choose one of them."
            )
        if self.optimizer == "nesterov" and self.lr_drop:
            raise ValueError(
                '`optimizer="nesterov"` has a schedule of its own, triangular '
                f"or `cosine`. Received: lr_drop={self.lr_drop}. Leave it out, "
                'or take `optimizer="sgd"`.'
            )
        if self.loss != "cross_entropy" and self.label_smoothing:
            raise ValueError(
                '`label_smoothing` belongs to `loss="cross_entropy"`. '
                f"Received: loss={self.loss!r}, "
                f"label_smoothing={self.label_smoothing}."
            )
        if self.ann_epochs and self.from_ann:
            raise ValueError(
                "`ann_epochs` trains a network with ReLUs first, `from_ann` "
                "reads one from a file. Received both: "
                f"ann_epochs={self.ann_epochs}, from_ann={self.from_ann!r}. "
                "Choose one of them."
            )

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Settings":
        """Return the settings that `to_dict` wrote, unknown keys refused."""
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise ValueError(
                f"Unknown settings: {', '.join(unknown)}. "
                f"Expected some of: {', '.join(sorted(known))}."
            )
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as a dictionary that JSON can hold."""
        return {**asdict(self), "lr_drop": list(self.lr_drop)}


def _one_of(names):
    return f"be one of {', '.join(names)}", names.__contains__


_AT_LEAST_1 = "be at least 1", lambda n: n >= 1
_POSITIVE = "be positive", lambda x: x > 0
_NOT_NEGATIVE = "not be negative", lambda x: x >= 0
_SHARE = "lie in [0, 1)", lambda x: 0 <= x < 1
_RULES = {
    **dict.fromkeys(("time_steps", "epochs", "batch_size"), _AT_LEAST_1),
    **dict.fromkeys(("learning_rate", "width"), _POSITIVE),
    **dict.fromkeys(
        ("weight_decay", "cutout", "ann_epochs", "seed"), _NOT_NEGATIVE
    ),
    **dict.fromkeys(("label_smoothing", "ema", "validation_split"), _SHARE),
    "shift": ("not be negative", lambda n: n is None or n >= 0),
    "dropout": ("lie in [0, 1)", lambda p: p is None or 0 <= p < 1),
    "spike_rate": ("lie in [0, 1]", lambda r: r is None or 0 <= r <= 1),
    "limit": ("be at least 1", lambda n: n is None or n >= 1),
    "beta": ("lie in (0, 1]", lambda x: 0 < x <= 1),
    "optimizer": _one_of(OPTIMIZERS),
    "loss": _one_of(LOSSES),
    "encoder": _one_of(ENCODERS),
    "dtype": _one_of(DTYPES),
    "lr_drop": (
        "be a list of increasing epochs, each at least 1",
        lambda drops: (
            isinstance(drops, (tuple, list))
            and all(_is_number(x, Integral) and x >= 1 for x in drops)
            and list(drops) == sorted(set(drops))
        ),
    ),
}


# Of fields by their types.
_NUMBERS = {
    **dict.fromkeys((int, int | None), (Integral, "an integer")),
    **dict.fromkeys((float, float | None), (Real, "a number")),
}


def _is_number(value, kind):
    return isinstance(value, kind) and not isinstance(value, bool)


def check_fields(values):
    """Check each field by itself.

    Args:
        values: Dictionary of some or all fields of `Settings`.

    Raises:
        ValueError: That names the first field out of range.
    """
    for x in fields(Settings):
        value = values.get(x.name)
        if x.type not in _NUMBERS or value is None:
            continue
        kind, what = _NUMBERS[x.type]
        if not _is_number(value, kind):
            raise ValueError(
                f"`{x.name}` must be {what}. Received: {x.name}={value!r}."
            )
    for name, (rule, is_valid) in _RULES.items():
        if name in values and not is_valid(values[name]):
            raise ValueError(
                f"`{name}` must {rule}. Received: {name}={values[name]!r}."
            )
