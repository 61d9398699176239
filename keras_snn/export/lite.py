"""LiteRT files, for phones and microcontroller boards."""

from __future__ import annotations

import tempfile
from typing import Any

import keras

from keras_snn import atomic
from keras_snn.export import endpoints, frozen, requirements
from keras_snn.network import read
from keras_snn.running import StepModel
from keras_snn.typing import Path

QUANTIZE = (None, "int8_weights")


def litert(
    model: keras.Model,
    path: Path,
    quantize: Any = None,
    overwrite: bool = False,
) -> None:
    """Write a LiteRT file (`.tflite`) for batches of one.

    It has built-in operations only, no Flex, so that any LiteRT interpreter
    runs it, also where there is neither TensorFlow nor keras_snn. The loop
    over time stays a loop: the file does not grow with T.

    A model has the signature `serve`, from its inputs to `scores`; T may be
    open. The step model of `keras_snn.streaming` has `step`, from `frame` and
    `state_0`, `state_1`, ... to `scores` and the states' next values, and
    `initial_state`.

    Args:
        model: A functional model, or a `StepModel`.
        path: File to write, ending in `.tflite`.
        quantize: None for float32, or `"int8_weights"`: kernels of more than
            1024 weights are rounded to integers in [-127, 127] times a scale
            a channel, which takes a quarter of the space. Membrane potentials
            stay float32, but a rounded weight can move a spike. LiteRT then
            also rounds what these layers take, at each step, to 255 levels
            between its least and its largest value: spikes stay as they are,
            pixels and averages do not.
        overwrite: Whether a file at `path` may be replaced.

    Raises:
        ValueError: If the model draws random numbers (`PoissonEncoder`) or
            computes in another type than float32, for another `quantize`, or
            if the backend is not TensorFlow.
        FileExistsError: If `path` exists and `overwrite` is False.

    Example:

    >>> keras_snn.export.litert(keras_snn.streaming(model), "step.tflite")

    Anywhere else, with `pip install ai-edge-litert` alone:

    >>> from ai_edge_litert.interpreter import Interpreter
    >>> interpreter = Interpreter("step.tflite")
    >>> state = interpreter.get_signature_runner("initial_state")()
    >>> step = interpreter.get_signature_runner("step")
    >>> for frame in camera:                       # (1, height, width, 2)
    ...     state = step(frame=frame, **state)
    ...     scores = state.pop("scores")

    References:
        - [Jacob et al., 2018](https://arxiv.org/abs/1712.05877), integer
          weights
    """
    requirements.tensorflow_only("A LiteRT file")
    read(model, "litert")
    path = atomic.target(path, overwrite, ".tflite")
    if quantize not in QUANTIZE:
        raise ValueError(
            '`quantize` must be None or "int8_weights". '
            f"Received: quantize={quantize!r}."
        )
    requirements.float32_only(model, "LiteRT")
    content = _convert(model, _signatures(model), quantize)
    with atomic.written(path) as draft:
        draft.write_bytes(content)


def _signatures(model):
    """Return the concrete functions by name."""
    if not isinstance(model, StepModel):
        return {"serve": _graph(model, endpoints.serve(model))}
    states = endpoints.initial_state(model)
    start = endpoints.Endpoint(lambda _: states.run({"batch_size": 1}), {})
    return {
        "step": _graph(model, endpoints.step(model)),
        "initial_state": _graph(model, start),
    }


def _graph(model, endpoint):
    return frozen.graph(model, endpoint, "LiteRT", batch_size=1)


def _convert(model, signatures, quantize):
    """Return the file's content."""
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(tf.Module(), folder, signatures)
        converter = tf.lite.TFLiteConverter.from_saved_model(
            folder, signature_keys=list(signatures)
        )
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        if quantize is not None:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        try:
            return converter.convert()
        except Exception as error:
            raise ValueError(
                f"'{model.name}' cannot be written as LiteRT: "
                f"{_lacking(str(error))}. {requirements.advice(model)}"
            ) from error


def _lacking(message):
    """Return the line of the converter's message that names operations."""
    lines = message.strip().splitlines()
    named = [x.strip() for x in lines if "ops:" in x or " op is " in x]
    return (named or lines)[-1]
