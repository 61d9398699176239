"""ONNX files, for ONNX Runtime and what else reads them."""

from __future__ import annotations

import json
import warnings

import keras

from keras_snn import atomic
from keras_snn.export import endpoints, frozen, requirements
from keras_snn.network import read
from keras_snn.optional import require
from keras_snn.running import Model, StepModel
from keras_snn.typing import Path


def onnx(model: keras.Model, path: Path, overwrite: bool = False) -> None:
    """Write an ONNX file by Keras' exporter, checked and with clear names.

    `model.export(path, format="onnx")` writes a file whatever comes; this
    function refuses what ONNX cannot do instead. Batch, and T where the model
    leaves it open, are dynamic; the loop over time stays a loop.

    A model's inputs have their names in Keras, in letters, digits and `_`, and
    its output is `scores`.
    The step model of `keras_snn.streaming` has the inputs `frame`, `state_0`,
    `state_1`, ... and the outputs `scores`, `next_state_0`, ...; the value
    each state starts with is in the file's metadata, `initial_values`.

    Needs `pip install "keras-snn[onnx]"`.

    Args:
        model: A functional model, or a `StepModel`.
        path: File to write, ending in `.onnx`.
        overwrite: Whether a file at `path` may be replaced.

    Raises:
        ValueError: If the model draws random numbers (`PoissonEncoder`), has
            an input called as an output,
            computes in another type than float32 or has an operation that
            ONNX lacks, or if the backend is not TensorFlow.
        FileExistsError: If `path` exists and `overwrite` is False.
        ImportError: If onnx or tf2onnx is missing.

    Example:

    >>> keras_snn.export.onnx(model, "lenet.onnx")

    Anywhere else, with `pip install onnxruntime` alone:

    >>> session = onnxruntime.InferenceSession("lenet.onnx")
    >>> scores, = session.run(["scores"], {"input": images})
    """
    requirements.tensorflow_only("An ONNX file")
    read(model, "onnx")
    path = atomic.target(path, overwrite, ".onnx")
    files = require("onnx", "onnx")
    require("tf2onnx", "onnx")
    requirements.float32_only(model, "ONNX")
    is_step = isinstance(model, StepModel)
    endpoint = (endpoints.step if is_step else endpoints.serve)(model)
    traced = frozen.graph(model, endpoint, "ONNX")
    with atomic.written(path) as draft:
        _export(model, endpoint, draft)
        content = files.load(draft)
        outputs = list(traced.structured_outputs)
        if is_step:
            outputs = [_next(name) for name in outputs]
            files.helper.set_model_props(
                content, {"initial_values": json.dumps(model.initial_values)}
            )
        _rename(files, content.graph, list(endpoint.inputs), outputs)
        _check(files, content, model)
        files.save(content, draft)


def _next(name):
    return f"next_{name}" if name.startswith("state_") else name


def _export(model, endpoint, path):
    if not isinstance(model, (Model, StepModel)):
        # ONNX has the one loop around all layers, not those inside of them.
        functional = read(model).functional
        model = Model(functional.inputs, functional.outputs, name=model.name)
    # Keras knows it by itself only of models that were called.
    signature = [read(model).pack_inputs(list(endpoint.inputs.values()))]
    with warnings.catch_warnings():
        # Keras tests whether NumPy still has what tf2onnx used to need.
        warnings.filterwarnings("ignore", ".*np.object.*", FutureWarning)
        model.export(
            str(path),
            format="onnx",
            verbose=False,
            input_signature=signature,
        )


def _check(files, content, model):
    """Raise a `ValueError` if a program that reads ONNX would refuse it."""
    try:
        files.checker.check_model(content, full_check=True)
    except (files.checker.ValidationError, RuntimeError) as error:
        first = str(error).strip().splitlines()[0]
        raise ValueError(
            f"'{model.name}' cannot be written as ONNX: {first}. "
            + requirements.advice(model)
        ) from error


def _rename(files, graph, inputs, outputs):
    """Name a graph's inputs and outputs, and their open axes."""
    same = ", ".join(sorted({*inputs} & {*outputs}))
    if same:
        raise ValueError(
            "ONNX wants names of inputs that are none of outputs. Received: "
            f"{same}. Rename the keras.Input."
        )
    before, after = [], []
    node = files.helper.make_node
    for value, name in zip(graph.input, inputs, strict=True):
        if value.name != name:
            before.append(node("Identity", [name], [value.name]))
            value.name = name
    for value, name in zip(graph.output, outputs, strict=True):
        after.append(node("Identity", [value.name], [name]))
        value.name = name
    nodes = [*before, *graph.node, *after]
    del graph.node[:]
    graph.node.extend(nodes)
    for value in (*graph.input, *graph.output):
        sizes = value.type.tensor_type.shape.dim
        for axis, size in zip(("batch", "time"), sizes):
            if not size.HasField("dim_value"):
                size.dim_param = axis
