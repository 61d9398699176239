"""SavedModels that a server can ask for more than scores."""

from __future__ import annotations

import functools
import json
import pathlib
from typing import Any

import keras

from keras_snn import atomic
from keras_snn.export import endpoints, requirements
from keras_snn.layers import LatencyEncoder, PoissonEncoder, RateEncoder
from keras_snn.network import read
from keras_snn.running import StepModel, streaming
from keras_snn.typing import Path

# Encoders for which a value is a probability, and 255 is a mistake.
SCALING = (PoissonEncoder, RateEncoder, LatencyEncoder)
DESCRIPTION = pathlib.Path("assets.extra", "keras_snn.json")


def saved_model(
    model: keras.Model, path: Path, overwrite: bool = False
) -> dict[str, Any]:
    """Write a TensorFlow SavedModel with endpoints for spikes and streams.

    It runs where TensorFlow is installed and keras_snn is not. Besides
    `serve`, which `model.export(path)` writes too, it has what only a spiking
    network offers. Batch, and T where the model leaves it open, are dynamic.

    | endpoint | from | to |
    |---|---|---|
    | `serve` | inputs | class scores |
    | `spike_rates` | inputs | dict from layer names to the batch's mean spikes a neuron and step |
    | `initial_state` | number of streams | dict of state tensors |
    | `step` | one frame, state | scores for the steps so far, next state |

    Each is a function of the loaded object and, under the same name and with
    flat named tensors (`frame`, `state_0`, `state_1`, ..., `scores`; inputs as
    they are called in Keras, in letters, digits and `_`), a signature for
    TensorFlow Serving and other clients. `serving_default` is
    `serve`. The state is the caller's: one set of tensors a stream, and
    `state_0` counts its steps.

    A model that does not run one step at a time has no `step` and no
    `initial_state`, one without spiking layers no `spike_rates`, and a step
    model (`keras_snn.streaming`) has only `step` and `initial_state`. What is
    missing, and why, is in the description that is returned and lies in the
    SavedModel as `assets.extra/keras_snn.json`.

    Tensors of another shape or type, pixels up to 255, no time steps, and
    frames and states of different batches are refused with a message that
    names what was expected.

    Args:
        model: A functional model, or a `StepModel`.
        path: Folder to write.
        overwrite: Whether what lies there may be replaced.

    Returns:
        The description, a dict: `endpoints` (each one's inputs and outputs,
        their shapes, None for any size, and dtypes), `missing` (reason by
        endpoint), `time_steps`, `classes`, `spiking_layers` and `model`.

    Raises:
        ValueError: If `model` is no functional model, or the backend is not
            TensorFlow.
        FileExistsError: If `path` exists and `overwrite` is False.

    Example:

    >>> keras_snn.export.saved_model(model, "served/lenet/1")

    Anywhere else, with TensorFlow alone:

    >>> loaded = tf.saved_model.load("served/lenet/1")
    >>> loaded.serve(images)                       # (batch, classes)
    >>> loaded.spike_rates(images)["block1_lif1"]  # e.g. 0.07
    >>> state = loaded.initial_state(1)
    >>> for frame in camera:                       # (1, height, width, 2)
    ...     scores, state = loaded.step(frame, state)
    """  # noqa: E501
    requirements.tensorflow_only("A SavedModel")
    read(model, "saved_model")
    path = atomic.target(path, overwrite)
    found, missing = _endpoints(model)
    module, signatures = _module(model, found)
    description = {
        "model": model.name,
        "endpoints": {
            name: _describe(signature) for name, signature in signatures.items()
        },
        "missing": missing,
        "time_steps": endpoints.time_steps(model),
        "classes": _classes(model),
        "spiking_layers": [node.name for node in read(model).neurons],
    }
    with atomic.written(path) as folder:
        _write(module, signatures, description, folder)
    return description


def _classes(model):
    """Return the number of scores, or None if the output is no such list."""
    shape = model.outputs[0].shape
    return shape[1] if len(shape) == 2 else None


def _endpoints(model):
    """Return the model's endpoints, and reasons for those it has not."""
    if isinstance(model, StepModel):
        return _of_stream(model), {
            name: "a step model sees one step, not the whole sequence"
            for name in ("serve", "spike_rates")
        }
    found, missing = {"serve": endpoints.serve(model)}, {}
    try:
        found["spike_rates"] = endpoints.spike_rates(model)
    except ValueError as error:
        missing["spike_rates"] = str(error)
    try:
        found.update(_of_stream(streaming(model)))
    except ValueError as error:
        missing.update(dict.fromkeys(("initial_state", "step"), str(error)))
    return found, missing


def _of_stream(model):
    return {
        "step": endpoints.step(model),
        "initial_state": endpoints.initial_state(model),
    }


def _module(model, found):
    """Return what TensorFlow saves, and its signatures by name."""
    import tensorflow as tf

    module, signatures = tf.Module(), {}
    # The functions use them; only what is an attribute is saved.
    module.variables_of_model = [v.value for v in model.variables]
    for name, endpoint in found.items():
        specs = {
            key: tf.TensorSpec(spec.shape, spec.dtype, name=key)
            for key, spec in endpoint.inputs.items()
        }
        # Traced once for the function and for the signature.
        checked = tf.function(
            _checked(model, name, endpoint), [specs], autograph=False
        )
        signatures[name] = _signature(checked, specs)
        functions = _CALLS.get(name, _inputs_call)
        call, arguments = functions(model, endpoint, checked, specs)
        setattr(module, name, tf.function(call, arguments, autograph=False))
    return module, signatures


def _signature(checked, specs):
    import tensorflow as tf

    @functools.partial(tf.function, autograph=False)
    def signature(**values):
        return checked(values)

    return signature.get_concrete_function(**specs)


def _inputs_call(model, endpoint, checked, specs):
    """Return the function that a user of `serve` calls, and its arguments."""

    def call(inputs):
        outputs = checked(dict(zip(specs, keras.tree.flatten(inputs))))
        return outputs["scores"] if list(outputs) == ["scores"] else outputs

    return call, [read(model).pack_inputs(list(specs.values()))]


def _step_call(model, endpoint, checked, specs):
    state = {name: specs[name] for name in endpoint.state}
    # What the model takes besides the frame; mostly nothing.
    sides = {k: x for k, x in specs.items() if k not in ("frame", *state)}

    def step(frame, state, *sides):
        values = {"frame": frame, **state}
        for more in sides:
            values.update(more)
        outputs = checked(values)
        state = {name: outputs.pop(name) for name in state}
        is_single = list(outputs) == ["scores"]
        return outputs["scores"] if is_single else outputs, state

    return step, [specs["frame"], state, *([sides] if sides else [])]


def _initial_state_call(model, endpoint, checked, specs):
    def initial_state(batch_size):
        return checked({"batch_size": batch_size})

    return initial_state, list(specs.values())


_CALLS = {"initial_state": _initial_state_call, "step": _step_call}


def _checked(model, name, endpoint):
    """Return the endpoint's function with checks inside its graph.

    A server checks neither shapes nor batches itself.
    """
    import tensorflow as tf

    def run(values):
        values = {
            key: tf.ensure_shape(x, endpoint.inputs[key].shape)
            for key, x in values.items()
        }
        with tf.control_dependencies(_assertions(model, name, values)):
            values = {key: tf.identity(x) for key, x in values.items()}
        return endpoint.run(values)

    return run


def _assertions(model, name, values):
    """Return operations that fail on what shapes and types cannot state."""
    if name == "initial_state":
        return [_positive_batch_size(values["batch_size"])]
    if name == "step":
        return _one_batch(values)
    scaled = _scaled_inputs(model)
    return [
        *(_some_steps(name, key, x) for key, x in values.items() if _open(x)),
        *(_no_pixels(name, key, values[key]) for key in scaled),
    ]


def _open(x):
    """Return whether a tensor is a sequence of any T."""
    return len(x.shape) > 1 and x.shape[1] is None


def _scaled_inputs(model):
    """Return the names of inputs whose values are spikes' probabilities."""
    names = {
        x.name: name
        for x, name in zip(model.inputs, endpoints.input_names(model))
    }
    return [
        names[x.name]
        for x in read(model).inputs
        if any(isinstance(node.layer, SCALING) for node in x.takers)
    ]


def _positive_batch_size(batch_size):
    import tensorflow as tf

    return tf.debugging.assert_positive(
        batch_size,
        "initial_state expects `batch_size`, the number of streams, to be 1 "
        "or more. Received:",
    )


def _one_batch(values):
    """A frame of one stream would be broadcast to the states of many."""
    import tensorflow as tf

    batch = tf.shape(values["frame"])[0]
    return [
        tf.debugging.assert_equal(
            tf.shape(x)[0],
            batch,
            f"step expects `frame` and `{key}` of one batch size, that of "
            "initial_state. Received the batch sizes:",
        )
        for key, x in values.items()
        if key != "frame"
    ]


def _some_steps(name, key, x):
    import tensorflow as tf

    return tf.debugging.assert_positive(
        tf.shape(x)[1],
        f"{name} expects `{key}` of one time step or more, on axis 1. "
        "Received:",
    )


def _no_pixels(name, key, x):
    """TensorFlow casts an array of integers without a word."""
    import tensorflow as tf

    whole = tf.reduce_all(tf.equal(x, tf.round(x)))
    largest = tf.reduce_max(tf.abs(x))
    return tf.debugging.Assert(
        tf.logical_not(tf.logical_and(whole, largest > 1.0)),
        [
            f"{name} expects `{key}` to be floating point images, scaled to "
            "[-1, 1]. Received integers, in which every pixel above 0 would "
            "spike at every step; scale them first. The largest:",
            largest,
        ],
    )


def _describe(signature):
    """Return names, shapes and types of a signature's inputs and outputs."""
    _, inputs = signature.structured_input_signature
    outputs = signature.structured_outputs
    return {
        "inputs": {name: _describe_tensor(x) for name, x in inputs.items()},
        "outputs": {name: _describe_tensor(x) for name, x in outputs.items()},
    }


def _describe_tensor(x):
    return {"shape": x.shape.as_list(), "dtype": x.dtype.name}


def _write(module, signatures, description, folder):
    import tensorflow as tf

    default = signatures.get("serve", signatures.get("step"))
    signatures = {**signatures, "serving_default": default}
    tf.saved_model.save(module, str(folder), signatures)
    file = folder / DESCRIPTION
    file.parent.mkdir()
    file.write_text(json.dumps(description, indent=1), "utf-8")
