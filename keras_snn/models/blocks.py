"""What the builders share: arguments, inputs, and blocks of layers."""

import dataclasses

import keras

from keras_snn import checks, layers
from keras_snn.layers.encoders import Encoder
from keras_snn.neurons import learning_rules
from keras_snn.running import Model

NORMS = ("none", "batch", "weight")
WIDEST = 1024

ENCODERS = {
    "poisson": layers.PoissonEncoder,
    "rate": layers.RateEncoder,
    "latency": layers.LatencyEncoder,
    "repeat": layers.RepeatEncoder,
}


@dataclasses.dataclass
class BlockOptions:
    """The arguments that every block of a network needs."""

    learning_rule: object
    beta: float
    dropout: float
    width: float
    seed: int | None
    gain: float = 2.0
    norm: str = "none"
    spiking: bool = True
    _drawn: int = 0

    def __post_init__(self):
        learning_rules.get(self.learning_rule)
        checks.choice("norm", self.norm, NORMS)
        self.beta = checks.decay(self.beta, None)
        self.seed = checks.seed(self.seed)
        self.width = checks.number(
            "width",
            self.width,
            "(0, inf)",
            "it multiplies every channel count",
        )
        if self.width > WIDEST:
            raise ValueError(
                f"`width` must be at most {WIDEST}. Received: width="
                f"{self.width}."
            )
        self.dropout = checks.number(
            "dropout",
            self.dropout,
            "[0, 1)",
            "the fraction of each spiking layer that is dropped, or be None "
            "for the published value",
        )

    def channels(self, count):
        return max(1, round(count * self.width))

    @property
    def reset(self):
        """How neurons are reset."""
        return "zero" if self.norm == "none" else "subtract"

    @property
    def readout_beta(self):
        """How the readout decays: not at all behind normalized layers."""
        return self.beta if self.norm == "none" else 1.0

    def at_each_step(self, layer):
        """Return a layer for one frame as one for what flows here."""
        return layers.TimeFold(layer) if self.spiking else layer

    def spatial(self, x):
        """Return `(height, width)` of what flows here."""
        return x.shape[2:4] if self.spiking else x.shape[1:3]

    def synapses(self, plain, standardized):
        """Return the type of a layer with weights, and its arguments."""
        if self.norm == "weight":
            return standardized, {}
        return plain, {"use_bias": False}

    def next_seed(self):
        """Return another seed at every call, None without a seed."""
        if self.seed is None:
            return None
        self._drawn += 1
        return (self.seed + self._drawn) % 2**32

    def initializer(self):
        """Normal with standard deviation sqrt(gain / fan_in)."""
        return keras.initializers.VarianceScaling(
            scale=self.gain,
            mode="fan_in",
            distribution="untruncated_normal",
            seed=self.next_seed(),
        )


def network_input(
    input_tensor,
    input_shape,
    default_shape,
    time_steps,
    encoder,
    settings,
    max_rate=1.0,
):
    """Return `(inputs, x)`: the model's input, and what the layers take.

    That is a spike train, or without spikes the input itself.
    """
    shape = _image_shape(input_tensor, input_shape, default_shape)
    if not settings.spiking:
        return _input(input_tensor, shape)
    if time_steps is not None:
        time_steps = checks.time_steps(time_steps)
    if encoder is None:
        return _input(input_tensor, (time_steps, *shape))
    if isinstance(encoder, Encoder):
        inputs, x = _input(input_tensor, shape)
        return inputs, encoder(x)
    if not isinstance(encoder, str) or encoder not in ENCODERS:
        known = ", ".join(f'"{name}"' for name in ENCODERS)
        raise ValueError(
            f"`encoder` must be one of {known}, an encoder layer, or None for "
            "input that is a spike train already. "
            f"Received: encoder={encoder!r}."
        )
    if time_steps is None:
        raise ValueError(
            f'encoder="{encoder}" needs a number of steps, e.g. time_steps=25. '
            "`time_steps=None` (any T) goes with encoder=None, where the input "
            "brings its own time axis."
        )
    options = {}
    if encoder in ("poisson", "rate"):
        options["max_rate"] = max_rate
    if encoder == "poisson":
        options["seed"] = settings.seed
    inputs, x = _input(input_tensor, shape)
    return inputs, ENCODERS[encoder](time_steps, name="encoder", **options)(x)


def _input(input_tensor, shape):
    """Return `(inputs, x)`: what a tensor starts from, and the tensor."""
    if input_tensor is None:
        inputs = keras.Input(shape, name="input")
        return inputs, inputs
    if len(input_tensor.shape) != len(shape) + 1:
        axes = "height, width, channels"
        if len(shape) == 4:
            axes = f"time, {axes}"
        raise ValueError(
            f"`input_tensor` must have axes (batch, {axes}) here: spike trains "
            "go with encoder=None, images with an encoder. "
            f"Received: shape {tuple(input_tensor.shape)}."
        )
    sources = keras.utils.get_source_inputs(input_tensor)
    return sources[0] if len(sources) == 1 else sources, input_tensor


def check_time_steps(asked, x):
    """Raise a `ValueError` if others are built than were asked for.

    Args:
        asked: Number of steps, None if any is right.
        x: The spike train that the layers take.
    """
    if asked is not None and x.shape[1] not in (None, asked):
        raise ValueError(
            "`time_steps` must be those of the encoder layer, or of an "
            "`input_tensor` with a time axis, or be left out. Received: "
            f"time_steps={asked}, spike trains of {x.shape[1]} steps."
        )


def _image_shape(input_tensor, input_shape, default_shape):
    if input_tensor is None:
        shape = default_shape if input_shape is None else input_shape
        return _check_image_shape("input_shape", shape)
    if not keras.backend.is_keras_tensor(input_tensor):
        raise ValueError(
            "`input_tensor` must be a symbolic Keras tensor, e.g. the result "
            f"of keras.Input({default_shape}). "
            f"Received: {type(input_tensor).__name__}."
        )
    shape = _check_image_shape("input_tensor.shape", input_tensor.shape[1:])
    if input_shape is not None and tuple(input_shape) != shape:
        raise ValueError(
            "`input_shape` must be that of `input_tensor`, or left out. "
            f"Received: input_shape={input_shape}, input_tensor of shape "
            f"{tuple(input_tensor.shape)}."
        )
    return shape


def _check_image_shape(name, shape):
    """Return the last three axes of `shape`, all known and positive."""
    is_shape = isinstance(shape, (tuple, list))
    image = tuple(shape[-3:]) if is_shape else ()
    too_long = name == "input_shape" and is_shape and len(shape) > 3
    is_count = [checks.is_integer(n, 1) for n in image]
    if too_long or len(image) != 3 or not all(is_count):
        raise ValueError(
            f"`{name}` must be (height, width, channels) of one image or "
            "frame, three positive integers; time and batch axes are added. "
            f"Received: {name}={shape}."
        )
    return tuple(int(n) for n in image)


def check_size(x, settings, factor, name):
    """Raise a `ValueError` if an image is too small for the poolings."""
    height, width = settings.spatial(x)
    if height < factor or width < factor:
        raise ValueError(
            f"{name} halves the image {factor.bit_length() - 1} times and "
            f"needs at least {factor}x{factor} pixels. "
            f"Received: {height}x{width}. Use a smaller network, e.g. LeNet."
        )


def spiking(x, settings, name):
    """LIF neurons, then dropout if there is any; or ReLUs."""
    if not settings.spiking:
        x = keras.layers.ReLU(name=name)(x)
        if settings.dropout:
            x = keras.layers.Dropout(
                settings.dropout,
                seed=settings.next_seed(),
                name=f"{name}_dropout",
            )(x)
        return x
    x = layers.LIF(
        beta=settings.beta,
        reset=settings.reset,
        learning_rule=settings.learning_rule,
        name=name,
    )(x)
    if settings.dropout:
        x = layers.TimeConstantDropout(
            settings.dropout,
            seed=settings.next_seed(),
            name=f"{name}_dropout",
        )(x)
    return x


def of_images(kind, *arguments, **named):
    """Return a Keras layer of frames `(height, width, channels)`.

    Whatever `image_data_format` Keras is configured with.
    """
    return kind(*arguments, data_format="channels_last", **named)


def convolution(
    x, filters, kernel_size, settings, name, strides=1, pooled=None
):
    """Currents of a convolution, padded by half its kernel.

    They are normalized as the settings say; without normalization there is
    no bias.

    Args:
        pooled: Name of a 2x2 average pooling of the currents before their
            normalization, or None.
    """
    if strides > 1 and kernel_size > 1:
        # Keras' "same" pads unevenly at stride 2; the paper pads each side.
        padding = of_images(
            keras.layers.ZeroPadding2D, kernel_size // 2, name=f"{name}_pad"
        )
        x = settings.at_each_step(padding)(x)
        mode = "valid"
    else:
        mode = "same"
    kind, options = settings.synapses(
        keras.layers.Conv2D, layers.StandardizedConv2D
    )
    x = settings.at_each_step(
        of_images(
            kind,
            settings.channels(filters),
            kernel_size,
            strides=strides,
            padding=mode,
            kernel_initializer=settings.initializer(),
            name=name,
            **options,
        )
    )(x)
    if pooled is not None:
        pool = of_images(keras.layers.AveragePooling2D, 2, name=pooled)
        x = settings.at_each_step(pool)(x)
    return normalized(x, settings, name)


def normalized(x, settings, name):
    """Batch normalization over batch and time, if the settings ask for it."""
    if settings.norm != "batch":
        return x
    norm = keras.layers.BatchNormalization(
        momentum=0.9, epsilon=1e-5, name=f"{name}_bn"
    )
    return settings.at_each_step(norm)(x)


def spiking_convolution(x, filters, kernel_size, settings, names, pooled=None):
    """A convolution and its neurons, pooled where that is asked for.

    Without normalization the spikes are pooled, into neurons of their own as
    in the paper; else the currents are, before their normalization.

    Args:
        names: Names of the convolution and of the neurons.
        pooled: Name of the pooling, or None.
    """
    of_spikes = settings.norm == "none"
    x = convolution(
        x,
        filters,
        kernel_size,
        settings,
        names[0],
        pooled=None if of_spikes else pooled,
    )
    x = spiking(x, settings, names[1])
    return pooling(x, settings, pooled) if pooled and of_spikes else x


def pooling(x, settings, name):
    """2x2 average pooling into integrate-and-fire neurons."""
    pool = of_images(keras.layers.AveragePooling2D, 2, name=name)
    x = settings.at_each_step(pool)(x)
    if not settings.spiking:
        return x
    return layers.IF(
        threshold=0.75,
        learning_rule=settings.learning_rule,
        name=f"{name}_if",
    )(x)


def dense(x, units, settings, name, plain=False):
    """Currents of a dense layer, normalized unless it is `plain`."""
    kind, options = settings.synapses(
        keras.layers.Dense, layers.StandardizedDense
    )
    if plain:
        kind, options = keras.layers.Dense, {"use_bias": False}
    x = settings.at_each_step(
        kind(
            units,
            kernel_initializer=settings.initializer(),
            name=name,
            **options,
        )
    )(x)
    return x if plain else normalized(x, settings, name)


def top(x, hidden, classes, settings):
    """Flatten, hidden spiking layers, and the leaky readout."""
    flatten = of_images(keras.layers.Flatten, name="flatten")
    x = settings.at_each_step(flatten)(x)
    for number, units in enumerate(hidden, 1):
        units = settings.channels(units)
        x = dense(x, units, settings, f"fc{number}")
        x = spiking(x, settings, f"fc{number}_lif")
    return readout(x, classes, settings)


def mean_top(x, classes, settings):
    """The mean over all places, and class scores."""
    pool = of_images(keras.layers.GlobalAveragePooling2D, name="pool")
    return readout(settings.at_each_step(pool)(x), classes, settings)


def readout(x, classes, settings):
    """Class scores: a dense layer, whose currents a readout sums up."""
    x = dense(x, classes, settings, "predictions", plain=True)
    if not settings.spiking:
        return x
    return layers.MembraneReadout(
        beta=settings.readout_beta,
        learning_rule=settings.learning_rule,
        name="readout",
    )(x)


def check_classes(classes):
    """Return `classes` as a positive int."""
    return checks.integer("classes", classes, 1, "the number of outputs")


def finish(inputs, outputs, name, settings):
    """Return the functional model."""
    kind = Model if settings.spiking else keras.Model
    return kind(inputs, outputs, name=name)
