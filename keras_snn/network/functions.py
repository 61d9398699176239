"""Functions of `keras.ops` and operators, as the layers that they mean.

`x / 255`, `a + b` and `keras.ops.relu(x)` in a functional model are nodes
without a layer. Here is which layer computes the same, or why there is none.
"""

import math
import re

import keras
import numpy as np
from keras.src.activations import activations
from keras.src.ops import core, image, nn
from keras.src.ops import numpy as arrays

from keras_snn.network.handlers import Handlers
from keras_snn.network.reading import Value

L = keras.layers

ANY = (
    "Build this part of layers, e.g. Dense, convolutions, ReLU, Add and "
    "Concatenate"
)
CONSTANT = (
    "its constant must be a number, or one number a channel, for "
    "keras.layers.Rescaling"
)
# Operators that a user writes instead of calling a function.
OPERATORS = {
    arrays.Add: "add (+)",
    arrays.Subtract: "subtract (-)",
    arrays.Multiply: "multiply (*)",
    arrays.TrueDivide: "true_divide (/)",
    arrays.Power: "power (**)",
    arrays.Matmul: "matmul (@)",
    arrays.GetItem: "get_item (x[...])",
    activations.ReLU: "relu",
}
FUNCTIONS = Handlers(
    "read as a layer", unknown=f"no layer computes this. {ANY}"
)


class NoLayer(Exception):
    """No layer means what a function computes; the text says what to do."""


def as_layer(node):
    """Return `(layer, inputs)` that mean what a function of a node computes.

    Args:
        node: A `Node` whose `layer` is an operation of Keras and no layer.

    Returns:
        A new Keras layer named like the operation, and the list of `Value`s
        that it takes.

    Raises:
        NoLayer: With the reason, which names the function.
    """
    operation = node.layer
    if len(node.outputs) > 1:
        raise NoLayer(f"{name_of(operation)} has several outputs. {ANY}")
    handler = FUNCTIONS.of(operation)
    if handler is None:
        advice = FUNCTIONS.reason(operation)
        raise NoLayer(f"{name_of(operation)}: {advice}")
    args, kwargs = node.arguments({x.key: x for x in node.inputs})
    try:
        return handler(node, *args, **kwargs)
    except NoLayer as reason:
        raise NoLayer(f"{name_of(operation)}: {reason}") from None


def name_of(operation):
    """Return how a function is called, e.g. `keras.ops.true_divide (/)`."""
    kind = type(operation)
    own = kind.__module__ == activations.__name__
    where = "keras.activations" if own else "keras.ops"
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", kind.__name__).lower()
    return f"{where}.{OPERATORS.get(kind, snake)}"


# Activations.


@FUNCTIONS.register(nn.Relu)
def _relu(node, x):
    return L.ReLU(name=node.name), [x]


@FUNCTIONS.register(nn.Relu6)
def _relu6(node, x):
    return L.ReLU(max_value=6.0, name=node.name), [x]


@FUNCTIONS.register(activations.ReLU)
def _relu_of_activations(node, x):
    own = node.layer
    return L.ReLU(
        max_value=_number(own.max_value),
        negative_slope=_number(own.negative_slope),
        threshold=_number(own.threshold),
        name=node.name,
    ), [x]


def _number(value):
    return None if value is None else float(value)


@FUNCTIONS.register(arrays.Maximum)
def _maximum(node, a, b):
    for x, other in ((a, b), (b, a)):
        if isinstance(x, Value) and _is_number(other, 0.0):
            return L.ReLU(name=node.name), [x]
    raise NoLayer(
        "it is a ReLU only beside the constant 0; other maxima are not linear "
        "in the spike rates. Use keras.layers.ReLU, Add or Concatenate"
    )


@FUNCTIONS.register(arrays.Clip)
def _clip(node, x):
    low, high = node.layer.x_min, node.layer.x_max
    if not _is_number(low, 0.0) or not _is_scalar(high):
        raise NoLayer(
            "it is a ReLU only from 0 to a number. Use "
            "keras.layers.ReLU(max_value=...)"
        )
    return L.ReLU(max_value=float(high), name=node.name), [x]


def _is_scalar(value):
    return not isinstance(value, Value) and np.ndim(_array(value)) == 0


def _is_number(value, number):
    return _is_scalar(value) and float(_array(value)) == number


# Sums and scalings.


@FUNCTIONS.register(arrays.Add)
def _add(node, a, b):
    if isinstance(a, Value) and isinstance(b, Value):
        return L.Add(name=node.name), [a, b]
    x, constant = (a, b) if isinstance(a, Value) else (b, a)
    return _affine(node, x, 1.0, constant)


@FUNCTIONS.register(arrays.Subtract)
def _subtract(node, a, b):
    if isinstance(a, Value) and isinstance(b, Value):
        return L.Subtract(name=node.name), [a, b]
    if isinstance(a, Value):
        return _affine(node, a, 1.0, -_array(b))
    return _affine(node, b, -1.0, a)


@FUNCTIONS.register(arrays.Multiply)
def _multiply(node, a, b):
    if isinstance(a, Value) and isinstance(b, Value):
        raise NoLayer(
            "it multiplies activations by activations, as the gate of a "
            "squeeze-and-excitation block does, which is not linear in the "
            "spike rates. Use keras.layers.Add or Concatenate, and train again"
        )
    x, constant = (a, b) if isinstance(a, Value) else (b, a)
    return _affine(node, x, constant, 0.0)


@FUNCTIONS.register(arrays.Divide, arrays.TrueDivide)
def _divide(node, a, b):
    if isinstance(b, Value):
        raise NoLayer(
            "it divides by activations, which is not linear in the spike "
            "rates. Divide by a constant, or use BatchNormalization"
        )
    return _affine(node, a, 1.0 / _array(b).astype("float64"), 0.0)


@FUNCTIONS.register(arrays.Negative)
def _negative(node, x):
    return _affine(node, x, -1.0, 0.0)


def _affine(node, x, scale, offset):
    """Return a Rescaling by constants, one number or one a channel."""
    if len(x.shape) != len(node.output.shape):
        raise NoLayer(CONSTANT)
    numbers = [_per_channel(c, x.shape) for c in (scale, offset)]
    return L.Rescaling(*numbers, name=node.name), [x]


def _per_channel(constant, shape):
    constant = _array(constant).astype("float64")
    if constant.size == 1:
        return float(constant.ravel()[0])
    # Where batch or sizes are unknown, a constant is not one of channels.
    if constant.shape[-1] != constant.size or constant.size != shape[-1]:
        raise NoLayer(
            f"{CONSTANT}. Received: a constant of shape {constant.shape} "
            f"beside activations of shape {tuple(shape)}"
        )
    return constant.ravel().tolist()


def _array(value):
    if isinstance(value, (int, float, list, tuple, np.ndarray)):
        return np.asarray(value)
    return np.asarray(keras.ops.convert_to_numpy(value))


# What leads activations elsewhere.


@FUNCTIONS.register(core.StopGradient, arrays.Copy)
def _identity(node, x):
    return L.Identity(name=node.name), [x]


@FUNCTIONS.register(core.Cast)
def _cast(node, x):
    if "float" not in str(node.layer.dtype):
        raise NoLayer("activations become integers. Leave it out")
    return L.Identity(name=node.name), [x]


@FUNCTIONS.register(arrays.Concatenate)
def _concatenate(node, values):
    axis = node.layer.axis
    if axis in (0, -len(node.output.shape)):
        raise NoLayer("axis 0 is the batch. Pass axis=-1")
    if not all(isinstance(x, Value) for x in values):
        raise NoLayer("one of its inputs is a constant. Use a bias instead")
    return L.Concatenate(axis=axis, name=node.name), list(values)


@FUNCTIONS.register(arrays.Reshape, arrays.ExpandDims, arrays.Squeeze)
def _reshape(node, x, *_, **__):
    before, after = x.shape[1:], node.output.shape[1:]
    known = None not in (*before, *after)
    if not known or math.prod(before) != math.prod(after):
        raise NoLayer(
            "it must keep the batch axis, and sizes be known. Use "
            "keras.layers.Reshape or Flatten"
        )
    return L.Reshape(after, name=node.name), [x]


@FUNCTIONS.register(arrays.Transpose)
def _transpose(node, x, *_, **__):
    axes = node.layer.axes
    if not axes or axes[0] != 0:
        raise NoLayer("it moves the batch axis. Use keras.layers.Permute")
    return L.Permute(axes[1:], name=node.name), [x]


ZERO_PADDING = {3: L.ZeroPadding1D, 4: L.ZeroPadding2D, 5: L.ZeroPadding3D}


@FUNCTIONS.register(arrays.Pad)
def _pad(node, x, constant_values=None):
    width, rank = node.layer.pad_width, len(x.shape)
    width = [tuple(pair) for pair in np.broadcast_to(width, (rank, 2)).tolist()]
    zeros = node.layer.mode == "constant" and not constant_values
    ends = (width[0], width[-1]) == ((0, 0), (0, 0))
    if not zeros or not ends or rank not in ZERO_PADDING:
        raise NoLayer(
            "only zeros around the middle axes are known. Use "
            "keras.layers.ZeroPadding2D"
        )
    padding = width[1] if rank == 3 else tuple(width[1:-1])
    return ZERO_PADDING[rank](padding, name=node.name), [x]


# Pooling.

POOLING = {
    nn.AveragePool: [
        L.AveragePooling1D,
        L.AveragePooling2D,
        L.AveragePooling3D,
    ],
    nn.MaxPool: [L.MaxPooling1D, L.MaxPooling2D, L.MaxPooling3D],
    arrays.Mean: [
        L.GlobalAveragePooling1D,
        L.GlobalAveragePooling2D,
        L.GlobalAveragePooling3D,
    ],
}
POOLING[arrays.Max] = POOLING[arrays.Amax] = [
    L.GlobalMaxPooling1D,
    L.GlobalMaxPooling2D,
    L.GlobalMaxPooling3D,
]


def _pooling_layer(node, x):
    rank = len(x.shape)
    if not 3 <= rank <= 5:
        raise NoLayer("it is known of one to three axes and channels")
    return POOLING[type(node.layer)][rank - 3]


@FUNCTIONS.register(nn.AveragePool, nn.MaxPool)
def _pooling(node, x):
    own = node.layer
    return _pooling_layer(node, x)(
        own.pool_size,
        own.strides,
        own.padding,
        data_format=own.data_format,
        name=node.name,
    ), [x]


@FUNCTIONS.register(arrays.Mean, arrays.Max, arrays.Amax)
def _global_pooling(node, x):
    rank, axes = len(x.shape), node.layer.axis
    axes = [axes] if isinstance(axes, int) else axes or range(rank)
    layer = _pooling_layer(node, x)
    places = sorted(axis % rank for axis in axes)
    if places != list(range(1, rank - 1)):
        raise NoLayer(
            f"only over all axes but batch and channels, as {layer.__name__} "
            f"does. Use keras.layers.{layer.__name__}"
        )
    return layer(keepdims=bool(node.layer.keepdims), name=node.name), [x]


# What has no layer, and what to use.

FUNCTIONS.refuse(
    arrays.Minimum,
    reason=(
        "it is not linear in the spike rates. Use "
        "keras.layers.ReLU(max_value=...), Add or Concatenate"
    ),
)
FUNCTIONS.refuse(
    arrays.Matmul,
    arrays.Dot,
    arrays.Einsum,
    arrays.Tensordot,
    reason="use keras.layers.Dense or EinsumDense, whose kernel is a weight",
)
FUNCTIONS.refuse(
    nn.Conv,
    nn.DepthwiseConv,
    nn.SeparableConv,
    nn.ConvTranspose,
    reason="use the layer, e.g. keras.layers.Conv2D, whose kernel is a weight",
)
FUNCTIONS.refuse(
    arrays.Stack,
    arrays.Split,
    arrays.Tile,
    arrays.Repeat,
    reason=(
        "it is known only before the first layer with weights. Use "
        "keras.layers.Concatenate, Reshape, RepeatVector or UpSampling2D"
    ),
)
FUNCTIONS.refuse(
    arrays.GetItem,
    core.Slice,
    reason=(
        "it is known only before the first layer with weights. Use "
        "keras.layers.Cropping2D (Cropping1D, Cropping3D), or for channels a "
        "convolution each"
    ),
)
FUNCTIONS.refuse(
    image.Resize,
    reason=(
        "it is known only before the first layer with weights. Use "
        "keras.layers.UpSampling2D or AveragePooling2D"
    ),
)
FUNCTIONS.refuse(
    nn.BatchNorm,
    getattr(nn, "LayerNorm", None),  # not in all versions that are known
    nn.RMSNorm,
    nn.Normalize,
    arrays.Var,
    arrays.Std,
    reason="use keras.layers.BatchNormalization",
)
FUNCTIONS.refuse(
    arrays.Sum,
    reason=(
        "use keras.layers.GlobalAveragePooling2D (the mean), or "
        "keras.layers.Add for several tensors"
    ),
)
FUNCTIONS.refuse(
    nn.Sigmoid,
    nn.Softplus,
    nn.Softsign,
    nn.Silu,
    nn.LogSigmoid,
    nn.LeakyRelu,
    nn.HardSigmoid,
    nn.HardSilu,
    nn.Elu,
    nn.Selu,
    nn.Gelu,
    nn.Celu,
    nn.Glu,
    nn.Softmax,
    nn.LogSoftmax,
    activations.Mish,
    arrays.Tanh,
    arrays.Sin,
    arrays.Cos,
    arrays.Exp,
    arrays.Log,
    arrays.Sqrt,
    arrays.Square,
    arrays.Power,
    arrays.Absolute,
    reason=(
        "it is known only before the first layer with weights and at the "
        "output; spike rates are those of ReLU. Use keras.layers.ReLU and "
        "train again"
    ),
)
