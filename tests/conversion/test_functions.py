"""Functions of keras.ops and operators mean the layers that compute the same.

A network without neurons is exact at every T.
"""

import re

import keras
import numpy as np
import pytest
from keras import ops

import keras_snn as snn
from keras_snn.conversion import plain
from keras_snn.conversion.folding import folded
from keras_snn.network import functions
from tests.conversion.networks import L, data, functional

convert = snn.conversion.convert


def conv(x, filters=3, **options):
    return L.Conv2D(filters, 3, **options)(x)


def predict(model, x):
    return model.predict(x, verbose=0)


C = np.float32([1.0, -2.0, 0.5])
# What is written, and the layer that it becomes.
MEANT = {
    "relu": (lambda x: ops.relu(x), L.ReLU),
    "relu6": (lambda x: ops.relu6(x), L.ReLU),
    "activations.relu": (lambda x: keras.activations.relu(x), L.ReLU),
    "activations.relu, bounded": (
        lambda x: keras.activations.relu(x, max_value=0.4),
        L.ReLU,
    ),
    "maximum": (lambda x: ops.maximum(x, 0.0), L.ReLU),
    "maximum, reversed": (lambda x: ops.maximum(0, x), L.ReLU),
    "clip": (lambda x: ops.clip(x, 0, 0.3), L.ReLU),
    "plus": (lambda x: x + conv(x, padding="same"), L.Add),
    "minus": (lambda x: x - conv(x, padding="same"), L.Subtract),
    "twice itself": (lambda x: x + x, L.Add),
    "concatenate": (lambda x: ops.concatenate([x, x], -1), L.Concatenate),
    "concatenate rows": (lambda x: ops.concatenate([x, x], 1), L.Concatenate),
    "mean": (lambda x: ops.mean(x, axis=(1, 2)), L.GlobalAveragePooling2D),
    "mean, kept": (
        lambda x: ops.mean(x, (-2, -3), keepdims=True),
        L.GlobalAveragePooling2D,
    ),
    "max": (lambda x: ops.max(x, axis=(1, 2)), L.GlobalMaxPooling2D),
    "average_pool": (
        lambda x: ops.average_pool(x, (2, 2), (2, 2)),
        L.AveragePooling2D,
    ),
    "max_pool": (
        lambda x: ops.max_pool(x, 3, 2, padding="same"),
        L.MaxPooling2D,
    ),
    "reshape": (lambda x: ops.reshape(x, (-1, 9, 12)), L.Reshape),
    "expand_dims": (lambda x: ops.expand_dims(x, 1), L.Reshape),
    "squeeze": (lambda x: ops.squeeze(ops.expand_dims(x, 3), 3), L.Reshape),
    "transpose": (lambda x: ops.transpose(x, (0, 3, 1, 2)), L.Permute),
    "pad": (
        lambda x: ops.pad(x, ((0, 0), (1, 2), (0, 1), (0, 0))),
        L.ZeroPadding2D,
    ),
    "times": (lambda x: 2.0 * x, L.Rescaling),
    "times, of channels": (lambda x: x * C, L.Rescaling),
    "divided": (lambda x: x / 255.0, L.Rescaling),
    "plus a constant": (lambda x: x + C.reshape(1, 1, 1, 3), L.Rescaling),
    "from a constant": (lambda x: 1 - x, L.Rescaling),
    "minus a constant": (lambda x: x - C, L.Rescaling),
    "negative": (lambda x: -x, L.Rescaling),
    "cast": (lambda x: ops.cast(x, "float32"), L.Identity),
    "stop_gradient": (lambda x: ops.stop_gradient(x), L.Identity),
}


@pytest.mark.parametrize("case", MEANT)
def test_a_function_is_read_as_its_layer(case):
    written, kind = MEANT[case]
    ann, x = functional(lambda x: L.Flatten()(written(conv(x)))), data()
    (node, *_) = [
        n
        for n in snn.network.read(ann).nodes
        if not isinstance(n.layer, L.Layer)
    ]
    layer, inputs = functions.as_layer(node)
    assert type(layer) is kind
    assert [y.key for y in inputs] == [y.key for y in node.inputs]
    graph = folded(ann)
    again = plain.reference(graph, [graph.output])
    np.testing.assert_allclose(predict(again, x), predict(ann, x), atol=1e-5)


def test_a_network_of_functions_is_that_of_layers():
    """The same network in layers and in functions: the same spikes."""

    def layers(x):
        a = L.ReLU(name="first")(L.Conv2D(4, 3, name="a")(x))
        b = L.Conv2D(4, 3, padding="same", name="b")(a)
        x = L.ReLU(max_value=6, name="second")(L.Add()([a, b]))
        x = L.GlobalAveragePooling2D(name="pool")(x)
        return L.Softmax()(L.Dense(3, name="scores")(x))

    def written(x):
        a = ops.relu(L.Conv2D(4, 3, name="a")(x))
        b = L.Conv2D(4, 3, padding="same", name="b")(a)
        x = ops.mean(keras.activations.relu6(a + b), axis=(1, 2))
        return ops.softmax(L.Dense(3, name="scores")(x))

    x, spiking = data(), []
    for body in (layers, written):
        model = convert(functional(body), x, time_steps=8)
        spiking.append(predict(model, x))
    np.testing.assert_allclose(*spiking, atol=1e-6)


def test_activations_of_other_libraries_are_known_by_where_they_come_from():
    if keras.config.backend() == "jax":
        import jax

        relu, relu6 = jax.nn.relu, jax.nn.relu6
    else:
        import tensorflow as tf

        relu, relu6 = tf.nn.relu, tf.nn.relu6

    def body(x):
        x = L.Conv2D(3, 3)(conv(x, activation=relu))
        return L.Dense(3)(L.Flatten()(L.Lambda(relu6)(x)))

    ann, x = functional(body), data()
    graph = folded(ann)
    assert [op.function for op in graph.neurons()] == ["relu", "relu"]
    again = plain.reference(graph, [graph.output])
    np.testing.assert_allclose(predict(again, x), predict(ann, x), atol=1e-5)


def relu(x):
    """No ReLU, in spite of its name."""
    return x * x


def test_a_function_of_the_same_name_is_not_taken_for_it():
    ann = functional(lambda x: L.Dense(2)(conv(x, activation=relu)))
    with pytest.raises(ValueError, match=r"test_functions\.relu inside"):
        convert(ann, data())


REFUSED = {
    "keras.ops.multiply (*): it multiplies activations": lambda x: x * x,
    "keras.ops.true_divide (/): it divides by activations": lambda x: 1 / x,
    "keras.ops.maximum: .* keras.layers.ReLU": lambda x: ops.maximum(x, 1.0),
    "keras.ops.minimum: .*ReLU(max_value": lambda x: ops.minimum(x, 1.0),
    "keras.ops.clip: .*ReLU(max_value": lambda x: ops.clip(x, -1, 1),
    "keras.ops.matmul (@): use keras.layers.Dense": lambda x: (
        x @ np.ones((3, 2), "float32")
    ),
    "keras.ops.conv: .*keras.layers.Conv2D": lambda x: ops.conv(
        x, np.ones((2, 2, 3, 2), "float32")
    ),
    "keras.ops.get_item (x[...]): .*Cropping2D": lambda x: x[:, 1:],
    "keras.ops.sum: .*GlobalAveragePooling2D": lambda x: ops.sum(x, (1, 2)),
    "keras.ops.mean: only over all axes": lambda x: ops.mean(x, -1),
    "keras.ops.silu: .*keras.layers.ReLU": lambda x: ops.silu(x),
    "keras.ops.power (**): .*keras.layers.ReLU": lambda x: x**2,
    "keras.ops.add (+): its constant must be": lambda x: (
        x + np.ones((6, 6, 3), "float32")
    ),
    "keras.ops.resize: .*UpSampling2D": lambda x: ops.image.resize(x, (3, 3)),
    "keras.ops.transpose: .*batch axis": lambda x: ops.transpose(
        ops.transpose(x, (1, 0, 2, 3)), (1, 0, 2, 3)
    ),
    "keras.ops.pad: only zeros": lambda x: ops.pad(
        x, ((0, 0), (1, 1), (1, 1), (0, 0)), "reflect"
    ),
    "keras.ops.split has several outputs": lambda x: ops.split(x, 3, -1)[1],
    "the code of a Lambda cannot be read": lambda x: L.Lambda(lambda x: x + 1)(
        x
    ),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_has_no_layer_is_named_with_what_to_use(message):
    ann = functional(
        lambda x: L.Dense(2)(L.Flatten()(REFUSED[message](conv(x))))
    )
    pattern = ".*".join(re.escape(part) for part in message.split(".*"))
    with pytest.raises(ValueError, match=pattern):
        convert(ann, data())
