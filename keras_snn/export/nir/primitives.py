"""A spiking model as the operations that NIR has words for."""

import dataclasses

import keras
import numpy as np

from keras_snn.analysis import layer_kinds
from keras_snn.analysis.batches import functional
from keras_snn.analysis.graph import TimeAxes
from keras_snn.conversion import folding
from keras_snn.export.nir import kernels
from keras_snn.layers import IF, LIF, MembraneReadout
from keras_snn.layers.encoders import Encoder
from keras_snn.layers.readouts import Readout
from keras_snn.network.reading import _nodes_of as nodes_of

L = keras.layers

KNOWN = (
    "convolutions (Conv2D), Dense, AveragePooling2D, GlobalAveragePooling2D, "
    "Flatten, ZeroPadding2D before a convolution, BatchNormalization after "
    "one, Add, dropout, and LIF and IF with reset='zero'"
)


@dataclasses.dataclass(eq=False)
class Operation:
    """One node of the NIR graph to be.

    Attributes:
        kind: `"input"`, `"convolution"`, `"dense"`, `"pool"`, `"flatten"`,
            `"neuron"`, `"readout"` or `"unknown"`.
        name: Unique name.
        layer: The Keras layer it was read from.
        inputs: Operations whose outputs it takes the sum of.
        shape: Shape of one output frame, in Keras' order of axes.
        image: For the flat vector of an image, the image's shape.
        weight: In NIR's axes.
        bias: One number an output channel, or None.
        padding: Pair of pairs, (before, after) along height and width.
        passing: Of neurons, how many of the last channels only pass spikes
            on; see `branches`.
    """

    kind: str
    name: str
    layer: object
    inputs: tuple
    shape: tuple
    image: tuple = None
    weight: np.ndarray = None
    bias: np.ndarray = None
    padding: tuple = ((0, 0), (0, 0))
    passing: int = 0


def read(model):
    """Return a model's operations, the last of which give its output.

    The list starts with the spike train: the encoder's output, or the input
    of a model without encoder. It ends with the readout, or with what makes
    the sequence that the model returns.

    Raises:
        ValueError: Naming all layers that NIR cannot express.
    """
    model = functional(model, "to_nir")
    reader = _Reader(model)
    for node in nodes_of(model):
        reader.read_node(node)
    return reader.finish()


class _Reader:
    """Operations read so far, and which of them make each tensor."""

    def __init__(self, model):
        self.model = model
        self.time = TimeAxes(nodes_of(model))
        self.operations, self.problems = [], {}
        # Per symbolic tensor: the operations whose outputs it is the sum of.
        self.sources = {}
        # ZeroPadding2D waits here for the convolution it belongs to.
        self.padding = {}
        self.uses = {}
        # Tensors that pass on another one, which is used elsewhere, too.
        self.shared = set()
        for node in nodes_of(model):
            for x in node.input_tensors:
                self.uses[id(x)] = self.uses.get(id(x), 0) + 1
        for x in model.outputs:
            self.uses[id(x)] = self.uses.get(id(x), 0) + 1

    def read_node(self, node):
        layer, output = node.operation, node.output_tensors[0]
        if isinstance(layer, Encoder) or (
            node.is_input and self.time.has_time(output)
        ):
            self._begin("input", node)
            return
        if not any(map(self._of, node.input_tensors)):
            # Before the encoder or after the readout, where no time runs.
            return
        if isinstance(layer, Readout):
            x = node.input_tensors[0]
            if self.padding.get(id(x)):
                self._refuse(layer, "it reads an image padded with zeros")
            self._add("readout", layer, self.sources[id(x)], output.shape[1:])
            return
        if type(layer) is L.Add:
            self._add_up(node)
            return
        stages = layer_kinds.stages(layer)
        unknown = [x for x in stages if type(x) not in KINDS]
        for stage in unknown:
            self._refuse(
                stage,
                REASONS.get(type(stage), "no node of NIR is known for it"),
            )
        if unknown:
            self._begin("unknown", node)
            return
        x = node.input_tensors[0]
        sources, padding = self.sources[id(x)], self.padding.get(id(x))
        shared = self.uses[id(x)] > 1 or id(x) in self.shared
        for stage in stages:
            before = sources
            sources, padding = self._read(stage, sources, padding, shared)
            shared = shared and sources == before
        if shared:
            self.shared.add(id(output))
        self.sources[id(output)] = sources
        self.padding[id(output)] = padding

    def finish(self):
        readouts = [x for x in self.operations if x.kind == "readout"]
        inputs = [x for x in self.operations if x.kind == "input"]
        if len(inputs) != 1 or len(self.model.outputs) != 1:
            raise ValueError(
                "to_nir() expects a model with one spike train and one "
                f"output. '{self.model.name}' has {len(inputs)} spike "
                f"train(s) and {len(self.model.outputs)} output(s)."
            )
        last = self.sources.get(id(self.model.outputs[0]))
        if last is None and len(readouts) == 1:
            last = readouts[0].inputs
        elif last is None or readouts:
            raise ValueError(
                "to_nir() expects a model that ends in one readout, or that "
                f"returns one sequence. '{self.model.name}' has "
                f"{len(readouts)} readout(s)."
            )
        if len(last) > 1:
            self._refuse(
                self.model, "its output is a sum; let a layer of neurons end it"
            )
        if self.padding.get(id(self.model.outputs[0])):
            self._refuse(self.model, "its output is padded with zeros")
        self._raise_problems()
        return self.operations

    def _raise_problems(self):
        if not self.problems:
            return
        lines = [
            f"- '{layer.name}' ({type(layer).__name__}): {reason}."
            for layer, reason in self.problems.items()
        ]
        raise ValueError(
            f"'{self.model.name}' has {len(lines)} layer(s) that cannot be "
            "written as NIR:\n" + "\n".join(lines) + f"\nKnown are {KNOWN}."
        )

    def _refuse(self, layer, reason):
        self.problems.setdefault(layer, reason)

    def _begin(self, kind, node):
        """Append an operation without inputs for what a node gives."""
        x = node.output_tensors[0]
        operation = self._add(kind, node.operation, (), x.shape[2:])
        self.sources[id(x)] = (operation,)

    def _add(self, kind, layer, inputs, shape, **attributes):
        names = {x.name for x in self.operations}
        # PyTorch has no dots in names, HDF5 no slashes.
        base = name = layer.name.replace("/", "_").replace(".", "_")
        number = 1
        while name in names:
            number += 1
            name = f"{base}_{number}"
        operation = Operation(
            kind, name, layer, tuple(inputs), tuple(shape), **attributes
        )
        self.operations.append(operation)
        return operation

    def _add_up(self, node):
        layer, output = node.operation, node.output_tensors[0]
        sources = [s for x in node.input_tensors for s in self._of(x)]
        if len(set(sources)) < len(sources):
            self._refuse(layer, "it adds one output to itself")
        if len({x.shape for x in sources}) > 1:
            self._refuse(layer, "it adds frames of different shapes")
        if len({x.image for x in sources}) > 1:
            self._refuse(
                layer,
                "it adds a flattened image, which NIR orders by channels, to "
                "a vector in another order",
            )
        if any(self.padding.get(id(x)) for x in node.input_tensors):
            self._refuse(layer, "it adds an image padded with zeros")
        self.sources[id(output)] = tuple(dict.fromkeys(sources))

    def _of(self, x):
        return self.sources.get(id(x), ())

    def _read(self, layer, sources, padding, shared):
        """Return `(sources, padding)` behind one layer.

        Args:
            layer: The layer, out of its TimeFold.
            sources: Operations that make its input.
            padding: Zero padding of its input that waits, or None.
            shared: Whether another layer takes the same input.
        """
        if type(layer) in layer_kinds.IDENTITIES:
            return sources, padding
        if type(layer) is L.ZeroPadding2D:
            if padding or layer.data_format != "channels_last":
                self._refuse(layer, "only one padding, channels last, is known")
            return sources, layer.padding
        if type(layer) is L.Conv2D:
            return (self._convolution(layer, sources, padding),), None
        if padding:
            self._refuse(layer, "NIR pads with zeros only in a convolution")
        if type(layer) is L.BatchNormalization:
            self._fold(layer, sources, shared)
            return sources, None
        if type(layer) is L.Flatten and len(sources[0].shape) == 1:
            return sources, None
        return (READERS[type(layer)](self, layer, sources),), None

    def _convolution(self, layer, sources, padding):
        size = sources[0].shape
        output = layer.compute_output_shape(
            (None, *_padded(size, padding or ((0, 0), (0, 0))))
        )[1:]
        reason = _unknown_convolution(layer)
        operation = self._add("convolution", layer, sources, output)
        if reason:
            self._refuse(layer, reason)
            return operation
        inner = [(0, 0), (0, 0)]
        if layer.padding == "same":
            size = _padded(size, padding or ((0, 0), (0, 0)))
            inner = [
                kernels.same_padding(*axis)
                for axis in zip(
                    size, layer.kernel_size, layer.strides, layer.dilation_rate
                )
            ]
        outer = padding or ((0, 0), (0, 0))
        operation.padding = tuple(
            (a + c, b + d) for (a, b), (c, d) in zip(inner, outer)
        )
        operation.weight = kernels.to_channels_first(_array(layer.kernel))
        operation.bias = _bias(layer)
        return operation

    def _dense(self, layer, sources):
        shape = (*sources[0].shape[:-1], layer.units)
        operation = self._add("dense", layer, sources, shape)
        if len(shape) > 1:
            self._refuse(
                layer,
                f"its input has frames of shape {sources[0].shape}; NIR's "
                "linear maps take vectors. Put TimeFold(Flatten()) before it",
            )
        if _activation(layer) != "linear":
            self._refuse(layer, f"its activation is {_activation(layer)}")
        if getattr(layer, "lora_enabled", False):
            self._refuse(layer, "it has a LoRA part")
        kernel = _array(layer.kernel)
        if sources[0].image:
            kernel = kernel[kernels.order_of(sources[0].image)]
        operation.weight = np.ascontiguousarray(kernel.T)
        operation.bias = _bias(layer)
        return operation

    def _pool(self, layer, sources):
        shape = sources[0].shape
        output = layer.compute_output_shape((None, *shape))[1:]
        if layer.data_format != "channels_last":
            self._refuse(layer, "only channels_last is known")
        if layer.padding != "valid" and any(
            n % size or size != step
            for n, size, step in zip(shape, layer.pool_size, layer.strides)
        ):
            self._refuse(
                layer,
                'with padding="same" it averages over fewer values at the '
                "border, which NIR does not",
            )
        return self._add("pool", layer, sources, output)

    def _pool_all(self, layer, sources):
        shape = sources[0].shape
        if layer.data_format != "channels_last":
            self._refuse(layer, "only channels_last is known")
        pool = self._add("pool", layer, sources, (1, 1, shape[-1]))
        if layer.keepdims:
            return pool
        return self._flat(L.Flatten(name=f"{layer.name}_flatten"), (pool,))

    def _flat(self, layer, sources):
        shape = sources[0].shape
        if len(shape) != 3:
            self._refuse(layer, f"its input has frames of shape {shape}")
        return self._add(
            "flatten", layer, sources, (int(np.prod(shape)),), image=shape
        )

    def _neuron(self, layer, sources):
        if layer.reset != "zero":
            self._refuse(
                layer,
                f'reset="{layer.reset}": a NIR neuron is reset to a potential. '
                'Train with reset="zero"',
            )
        if layer.initial_potential != 0.0:
            self._refuse(
                layer,
                f"initial_potential={layer.initial_potential}: a NIR neuron "
                "starts at rest",
            )
        return self._add(
            "neuron", layer, sources, sources[0].shape, image=sources[0].image
        )

    def _fold(self, layer, sources, shared):
        """Take a normalisation into the weights before it."""
        (source, *others) = sources
        if others or shared or source.kind not in ("convolution", "dense"):
            self._refuse(
                layer,
                "no convolution or dense layer stands directly before it "
                "whose output goes nowhere else, so it cannot be folded",
            )
        elif source.weight is not None:
            factor, shift = folding.affine(layer)
            weight = source.weight
            bias = 0.0 if source.bias is None else source.bias
            factor_axes = factor.reshape(-1, *(1,) * (weight.ndim - 1))
            source.weight = (weight * factor_axes).astype("float32")
            source.bias = (bias * factor + shift).astype("float32")


READERS = {
    L.Dense: _Reader._dense,
    L.AveragePooling2D: _Reader._pool,
    L.GlobalAveragePooling2D: _Reader._pool_all,
    L.Flatten: _Reader._flat,
    LIF: _Reader._neuron,
    IF: _Reader._neuron,
}
KINDS = (
    *layer_kinds.IDENTITIES,
    L.ZeroPadding2D,
    L.Conv2D,
    L.BatchNormalization,
    *READERS,
)
GROUPED = (
    "grouped convolutions are refused by most readers of NIR, and its own "
    "type check takes their input for one channel"
)
REASONS = {
    L.MaxPooling2D: "NIR has average and sum pooling, no maximum",
    L.GlobalMaxPooling2D: "NIR has average and sum pooling, no maximum",
    L.DepthwiseConv2D: GROUPED,
    L.Average: "NIR only adds; use Add and half the weights",
    L.Subtract: "NIR only adds; use Add and negative weights",
    L.Concatenate: "NIR joins by adding only",
}


def is_membrane(layer):
    """Return whether a readout is the leaky integrator that NIR knows."""
    return type(layer) is MembraneReadout


def _unknown_convolution(layer):
    """Return why a Conv2D cannot be written, or None."""
    if layer.data_format != "channels_last":
        return "only channels_last is known"
    if layer.groups != 1:
        return GROUPED
    if layer.padding not in ("same", "valid"):
        return f'its padding is "{layer.padding}"'
    if _activation(layer) != "linear":
        return f"its activation is {_activation(layer)}"
    if getattr(layer, "lora_enabled", False):
        return "it has a LoRA part"
    return None


def _activation(layer):
    return getattr(layer.activation, "__name__", str(layer.activation))


def _padded(shape, padding):
    (top, bottom), (left, right) = padding
    height, width, channels = shape
    return height + top + bottom, width + left + right, channels


def _array(weight):
    return keras.ops.convert_to_numpy(weight).astype("float32")


def _bias(layer):
    return _array(layer.bias) if layer.use_bias else None
