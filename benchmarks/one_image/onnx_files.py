"""The dense network of equal layers, as ONNX files."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import quantization

from benchmarks.one_image.dense import IMAGES
from keras_snn_runtime.operations import NO_BIAS


def write(network, path):
    """Write a network with a ReLU in place of each layer's neurons.

    It takes images, `(images, channels, height, width)`, through all layers
    once: weights, biases and poolings are the network's.

    Args:
        network: A `keras_snn_runtime.Network` in float32, of convolutions,
            poolings and dense layers one after the other.
        path: Where to.
    """
    graph = _Graph(network.arrays)
    for operation in network.operations:
        getattr(graph, f"add_{type(operation).__name__.lower()}")(operation)
    last = graph.names[network.operations[-1].key]
    height, width, channels = network.input_shape
    source = graph.names[network.operations[0].key]
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            network.name,
            [_tensor(source, [IMAGES, channels, height, width])],
            [_tensor(last, [IMAGES, *network.output_shape])],
            graph.weights,
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=10,
    )
    onnx.checker.check_model(model)
    onnx.save(onnx.shape_inference.infer_shapes(model), path)


def _tensor(name, shape):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


class _Graph:
    """Nodes and weights of a graph; names and shapes by operations' keys."""

    def __init__(self, arrays):
        self.arrays = arrays
        self.nodes, self.weights = [], []
        self.names, self.shapes = {}, {}

    def _add(self, kind, x, *inputs, **attributes):
        name = f"{kind}{x.key}"
        node = helper.make_node(kind, inputs, [name], name, **attributes)
        self.nodes.append(node)
        self.names[x.key], self.shapes[x.key] = name, x.shape
        return name

    def _weights(self, x, kernel):
        arrays = [kernel, *(self.arrays[k] for k in [x.bias] if k != NO_BIAS)]
        names = [f"weight{x.key}", f"bias{x.key}"][: len(arrays)]
        self.weights += [
            numpy_helper.from_array(np.ascontiguousarray(array), name)
            for array, name in zip(arrays, names)
        ]
        return names

    def add_source(self, x):
        self.names[x.key], self.shapes[x.key] = "image", x.shape

    def add_reshape(self, x):
        # Channels come first there: the rows of weights are put in order.
        self.names[x.key] = self.names[x.source]
        self.shapes[x.key] = self.shapes[x.source]

    add_integration = add_reshape

    def add_neurons(self, x):
        self._add("Relu", x, self.names[x.source])

    def add_convolution(self, x):
        kernel = self.arrays[x.kernel]
        sizes = zip(
            x.shape, x.strides, kernel.shape, x.before, self.shapes[x.source]
        )
        after = [(n - 1) * s + k - b - side for n, s, k, b, side in sizes][:2]
        self._add(
            "Conv",
            x,
            self.names[x.source],
            *self._weights(x, kernel.transpose(3, 2, 0, 1)),
            strides=x.strides,
            pads=[*x.before, *after],
        )

    def add_pooling(self, x):
        kind = {"average": "AveragePool", "maximum": "MaxPool"}[x.kind]
        source = self.names[x.source]
        self._add(kind, x, source, kernel_shape=x.size, strides=x.strides)

    def add_product(self, x):
        kernel, shape = self.arrays[x.kernel], self.shapes[x.source]
        if len(shape) == 3:
            kernel = kernel.reshape(*shape, -1).transpose(2, 0, 1, 3)
            kernel = kernel.reshape(-1, kernel.shape[-1])
        flat = self._add("Flatten", x, self.names[x.source])
        self._add("Gemm", x, flat, *self._weights(x, kernel))


class _Images(quantization.CalibrationDataReader):
    def __init__(self, images):
        self._left = iter(images)

    def get_next(self):
        image = next(self._left, None)
        return None if image is None else {"image": image[None]}


def quantize(source, target, images):
    """Write a network in int8, as ONNX Runtime quantizes it.

    Static, from the extremes of activations; weights have a scale of each
    output channel; QDQ nodes.

    Args:
        source, target: Paths.
        images: Floats `(images, channels, height, width)` to calibrate by.
    """
    quantization.quantize_static(
        source,
        target,
        _Images(images),
        quant_format=quantization.QuantFormat.QDQ,
        per_channel=True,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
    )
