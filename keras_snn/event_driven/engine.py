"""A network's whole loop over time as one operation of a TensorFlow graph."""

import dataclasses
import functools

import numpy as np
from keras import Variable, ops
from keras.src.backend import AutocastScope

from keras_snn_runtime import samples, timing
from keras_snn_runtime.operations import LEAK_CORRECTED, STATISTICS, WINDOW

# TensorFlow takes arrays at such addresses as they are, without a copy.
ALIGNMENT = 64


def run(program, values, statistics=None, history=False):
    """Run a network through time, sample by sample and spike by spike.

    Args:
        program: The network's `lowering.Program`.
        values: Dict from the keys of its sources to tensors with axes
            (batch, time, ...).
        statistics: `"sums"` for each neuron's number of spikes `"total"`,
            the step of the last one `"t_last"` and, if its factor is
            leak-corrected, the leaky `"trace"`; `"credit"` for its `"rate"`
            and its `"derivative"` by the collapsed rule; or None.
        history: Whether to keep every spike, at one bit, besides the
            statistics.

    Returns:
        Dict from `(key, name)` to float32 tensors with axes (batch, ...):
        statistics by their names, `"state"` of a readout, `"mask"` of a
        dropout, and `"history"` as uint8 with axes (window, batch, ...).
    """
    import tensorflow as tf

    inputs = {key: ops.cast(x, "float32") for key, x in values.items()}
    batch = ops.shape(next(iter(values.values())))[0]
    masks = {
        key: layer.mask((batch, *program.shapes[key]))
        for key, layer in program.masks.items()
    }
    inputs = {**inputs, **masks, **_weights(program)}
    names = list(inputs)
    specs = _outputs(program, statistics, history)

    def call(*arrays):
        return _run(program, dict(zip(names, arrays)), specs, statistics)

    arrays = tf.numpy_function(
        call,
        list(inputs.values()),
        [tf.as_dtype(spec.dtype) for spec in specs.values()],
        stateful=False,
    )
    results = {(key, "mask"): x for key, x in masks.items()}
    # Outside of a graph a list of one comes back as its element.
    arrays = arrays if isinstance(arrays, (list, tuple)) else [arrays]
    for x, (name, spec) in zip(arrays, specs.items()):
        x.set_shape([*[None] * spec.leading, *spec.shape])
        results[name] = x
    return results


def seconds(program, values):
    """Return how long each operation takes for some samples, in one thread.

    Args:
        program: The network's `lowering.Program`, for inference.
        values: As in `run`.

    Returns:
        Tuple: dict from keys to seconds, and the set of the keys that are
        computed once for all steps.
    """
    inputs = {**values, **_weights(program)}
    inputs = {
        name: ops.convert_to_numpy(ops.cast(x, "float32"))
        for name, x in inputs.items()
    }
    samples, time_steps = inputs[program.sources[0]].shape[:2]
    outputs = {
        name: np.empty((samples, *spec.shape), spec.dtype)
        for name, spec in _outputs(program, None, False).items()
    }
    return timing.seconds(
        program.operations, inputs, outputs, time_steps, samples, program.held
    )


def _weights(program):
    # The layers compute in float32, whatever the model around them does.
    # Keras has no public name for this scope.
    with AutocastScope(None):
        return {name: _tensor(read()) for name, read in program.weights.items()}


def _tensor(x):
    return ops.convert_to_tensor(x.value if isinstance(x, Variable) else x)


@dataclasses.dataclass(frozen=True)
class _Output:
    """A tensor of `leading` axes and those of one sample."""

    shape: tuple
    dtype: str = "float32"
    leading: int = 1


def _outputs(program, statistics, history):
    """Return the outputs by key and name."""
    shapes, outputs = program.shapes, {}
    for key in program.readouts:
        outputs[key, "state"] = _Output(shapes[key])
    for key, layer in program.neurons.items():
        names = STATISTICS.get(statistics, ())
        if statistics == "sums" and layer.factor == LEAK_CORRECTED:
            names = (*names, "trace")
        for name in names:
            outputs[key, name] = _Output(shapes[key])
        if history and statistics:
            outputs[key, "history"] = _Output(shapes[key], "uint8", 2)
    return outputs


def _run(program, inputs, specs, statistics):
    """Run all samples; return the list of outputs."""
    batch, time_steps = inputs[program.sources[0]].shape[:2]
    sizes = [-(-time_steps // WINDOW), batch]
    outputs = {
        name: _aligned((*sizes[-spec.leading :], *spec.shape), spec.dtype)
        for name, spec in specs.items()
    }
    samples.run(
        program.operations,
        inputs,
        outputs,
        statistics,
        time_steps,
        program.held,
        threads(),
    )
    return list(outputs.values())


def _aligned(shape, dtype):
    """Return an uninitialized array that starts at `ALIGNMENT`."""
    size = int(np.prod(shape, dtype="int64")) * np.dtype(dtype).itemsize
    memory = np.empty(size + ALIGNMENT, "uint8")
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + size].view(dtype).reshape(shape)


@functools.cache
def threads():
    """Return how many threads share a batch, as many as TensorFlow's."""
    import tensorflow as tf

    if chosen := tf.config.threading.get_intra_op_parallelism_threads():
        return chosen
    return samples.cores()
