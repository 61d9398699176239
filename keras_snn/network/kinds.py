"""What each kind of Keras layer is to a spiking network: the one table.

To make a layer known everywhere (training in one loop, windows, streams, the
event-driven engine's fallback, conversion, operation counts), `register` it
here.
"""

import dataclasses
import inspect
from collections.abc import Callable

import keras

from keras_snn.layers import (
    Affine,
    StandardizedConv2D,
    StandardizedDense,
    ThresholdBatchNormalization,
    TimeConstantDropout,
    TimeFold,
)
from keras_snn.layers.time_layer import TimeLayer
from keras_snn.network import geometry

L = keras.layers


@dataclasses.dataclass(frozen=True)
class Kind:
    """What is known of one type of layer.

    Attributes:
        role: What it does to activations:

            - `"synapses"`: sums over inputs times weights of its own;
            - `"average"`: sums over inputs times fixed weights;
            - `"maximum"`: the largest of some inputs;
            - `"wiring"`: leads activations elsewhere, and no more;
            - `"identity"`: nothing at inference;
            - `"normalization"`: an affine map a channel, by statistics;
            - `"scaling"`: an affine map of fixed numbers;
            - `"preprocessing"`: what prepares images, before any encoder;
            - `"activation"`: a function of each value;
            - `"merge"`: a sum of several inputs;
            - `"join"`: several inputs side by side;
            - `"unknown"`.
        linear: Whether its mean over time is the layer of the mean over time
            (affine maps included), also in training.
        geometry: Function of a layer and one frame's shape that returns how
            many synapses leave each position; None where there are none.
        refusal: Why there is no spiking counterpart, with advice, or None.
    """

    role: str
    linear: bool = False
    geometry: Callable | None = None
    refusal: str | None = None


UNKNOWN = Kind("unknown", refusal="no spiking counterpart is known")
_TABLE = {}


def register(*types, role, linear=False, geometry=None, refusal=None):
    """Add types of layers to the table; for the arguments see `Kind`.

    Raises:
        ValueError: If a type is in the table already.
    """
    for layer_type in types:
        if layer_type in _TABLE:
            raise ValueError(f"{layer_type.__name__} is registered already.")
        _TABLE[layer_type] = Kind(role, linear, geometry, refusal)


def of(layer):
    """Return the `Kind` of a layer, by its exact type.

    A subclass may do anything, and is not known.
    """
    return _TABLE.get(type(layer), UNKNOWN)


def types(role):
    """Return the types of layers of a role."""
    return tuple(x for x, kind in _TABLE.items() if kind.role == role)


def stages(layer):
    """Return the layers of a TimeFold or (nested) Sequential, or the layer."""
    if type(layer) is TimeFold:
        layer = layer.layer
    if type(layer) is keras.Sequential:
        return [stage for x in layer.layers for stage in stages(x)]
    return [layer]


def is_linear(layer):
    """Return whether the layers of `stages` commute with the mean over time."""
    return all(
        of(stage).linear
        and activation(stage) == "linear"
        # Integers are made of each step's largest input.
        and getattr(stage, "quantization_mode", None) is None
        for stage in stages(layer)
    )


def is_normalization(layer):
    """Return whether a layer takes statistics over batch and time to train."""
    return of(layer).role == "normalization"


def activation(layer):
    """Return the name of a layer's activation, `"linear"` if it has none."""
    function = getattr(layer, "activation", None)
    if function is None or function is keras.activations.linear:
        return "linear"
    return getattr(function, "__name__", type(function).__name__)


def regularizes_frames(layer):
    """Return whether a layer would regularize what it does at each step.

    A `TimeLayer` does not: its `step` is no call of the layer.
    """
    own = not isinstance(layer, TimeLayer) and layer.activity_regularizer
    inner = stages(layer) if type(layer) is TimeFold else ()
    return bool(own) or any(x.activity_regularizer for x in inner)


def regularizes_activity(layer):
    """Return whether a layer, or one at each step in it, has a regularizer."""
    own = getattr(layer, "activity_regularizer", None)
    return bool(own) or regularizes_frames(layer)


def adds_losses(layer):
    """Return whether a layer calls `add_loss` in its `call`."""
    code = getattr(inspect.unwrap(type(layer).call), "__code__", None)
    return code is not None and "add_loss" in code.co_names


register(
    L.Conv1D,
    L.Conv2D,
    L.Conv3D,
    L.Conv1DTranspose,
    L.Conv2DTranspose,
    L.Conv3DTranspose,
    L.DepthwiseConv1D,
    L.DepthwiseConv2D,
    L.SeparableConv1D,
    L.SeparableConv2D,
    StandardizedConv2D,
    role="synapses",
    linear=True,
    geometry=geometry.convolution,
)
register(
    L.Dense,
    StandardizedDense,
    role="synapses",
    linear=True,
    geometry=geometry.dense,
)
register(L.EinsumDense, role="synapses", linear=True)
register(Affine, role="synapses", linear=True, geometry=geometry.one_to_one)
register(
    L.AveragePooling1D,
    L.AveragePooling2D,
    L.AveragePooling3D,
    role="average",
    linear=True,
    geometry=geometry.pooling,
)
register(
    L.GlobalAveragePooling1D,
    L.GlobalAveragePooling2D,
    L.GlobalAveragePooling3D,
    role="average",
    linear=True,
    geometry=geometry.global_pooling,
)
register(
    L.MaxPooling1D,
    L.MaxPooling2D,
    L.MaxPooling3D,
    L.GlobalMaxPooling1D,
    L.GlobalMaxPooling2D,
    L.GlobalMaxPooling3D,
    role="maximum",
)
register(
    L.Flatten,
    L.Reshape,
    L.Permute,
    L.RepeatVector,
    L.ZeroPadding1D,
    L.ZeroPadding2D,
    L.ZeroPadding3D,
    L.Cropping1D,
    L.Cropping2D,
    L.Cropping3D,
    L.UpSampling1D,
    L.UpSampling2D,
    L.UpSampling3D,
    role="wiring",
    linear=True,
)
register(L.Identity, L.ActivityRegularization, role="identity", linear=True)
register(
    L.Dropout,
    L.SpatialDropout1D,
    L.SpatialDropout2D,
    L.SpatialDropout3D,
    L.AlphaDropout,
    L.GaussianDropout,
    L.GaussianNoise,
    TimeConstantDropout,
    role="identity",
)
# Augmentation: it does nothing at inference.
register(
    L.AugMix,
    L.CutMix,
    L.MixUp,
    L.RandAugment,
    L.RandomBrightness,
    L.RandomColorDegeneration,
    L.RandomColorJitter,
    L.RandomContrast,
    L.RandomElasticTransform,
    L.RandomErasing,
    L.RandomFlip,
    L.RandomGaussianBlur,
    L.RandomGrayscale,
    L.RandomHue,
    L.RandomInvert,
    L.RandomPerspective,
    L.RandomPosterization,
    L.RandomRotation,
    L.RandomSaturation,
    L.RandomSharpness,
    L.RandomShear,
    L.RandomTranslation,
    L.RandomZoom,
    role="identity",
)
register(
    L.AutoContrast,
    L.CenterCrop,
    L.Equalization,
    L.RandomCrop,
    L.Resizing,
    L.Solarization,
    role="preprocessing",
    refusal=(
        "it prepares images, and is known only before the first layer with "
        "weights. Put it directly after the input"
    ),
)
register(
    L.BatchNormalization, ThresholdBatchNormalization, role="normalization"
)
register(L.Rescaling, L.Normalization, role="scaling", linear=True)
register(L.Activation, L.ReLU, L.Softmax, role="activation")
register(L.Add, L.Average, L.Subtract, role="merge", linear=True)
register(L.Concatenate, role="join", linear=True)

_SIGNED = "its negative outputs have no spike rate. Use ReLU and train again"
register(L.LeakyReLU, L.PReLU, L.ELU, role="activation", refusal=_SIGNED)
register(
    L.LSTM,
    L.GRU,
    L.SimpleRNN,
    L.ConvLSTM2D,
    L.Bidirectional,
    role="unknown",
    refusal="recurrent layers use the time axis that spikes need",
)
register(
    L.LayerNormalization,
    L.GroupNormalization,
    L.UnitNormalization,
    role="unknown",
    refusal=(
        "it divides by a statistic of each sample, which weights cannot hold. "
        "Use BatchNormalization"
    ),
)
register(
    L.Multiply,
    L.Dot,
    role="unknown",
    refusal=(
        "it multiplies activations by activations, as the gate of a "
        "squeeze-and-excitation block does, which is not linear in the spike "
        "rates. Use Add or Concatenate, and train again"
    ),
)
register(
    L.Maximum,
    L.Minimum,
    role="unknown",
    refusal="it is not linear in the spike rates. Use Add or Concatenate",
)
register(
    L.MultiHeadAttention,
    L.Attention,
    role="unknown",
    refusal="attention multiplies activations, which spike rates do not do",
)
