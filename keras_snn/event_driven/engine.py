"""A network's whole loop over time as one operation of a TensorFlow graph."""

import dataclasses
import functools

import numpy as np
from keras import Variable, ops
from keras.src.backend import AutocastScope

from keras_snn_runtime import samples, timing
from keras_snn_runtime.operations import STATISTICS, WINDOW, aligned


def run(
    program, values, statistics=None, history=False, state=None, steps=None
):
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
        state: Dict from keys to the potentials of neurons and the states of
            readouts to start from. None begins a sequence.
        steps: Number of steps. None takes it from the first source.

    Returns:
        Dict from `(key, name)` to float32 tensors with axes (batch, ...):
        statistics by their names, `"state"` of a readout (with a `state` to
        start from that of neurons, too), `"mask"` of a dropout, `"history"`
        as uint8 with axes (window, batch, ...), and each `"sequence"` that
        the program keeps, with axes (batch, time, ...).
    """
    inputs = {key: ops.cast(x, "float32") for key, x in values.items()}
    first = values[program.sources[0]]
    batch = ops.shape(first)[0]
    if steps is None:
        steps = ops.shape(first)[1]
    masks = {
        key: layer.mask((batch, *program.shapes[key]))
        for key, layer in program.masks.items()
    }
    start = {(key, "state"): x for key, x in (state or {}).items()}
    inputs = {**inputs, **masks, **start, **read_weights(program)}
    names = list(inputs)
    specs = _outputs(program, statistics, history, state is not None)

    def call(steps, *arrays):
        inputs = dict(zip(names, arrays))
        return _run(program, inputs, specs, statistics, int(steps))

    known = {"batch": first.shape[0], "once": 1}
    outputs = [
        (spec.dtype, (*map(known.get, spec.axes), *spec.shape))
        for spec in specs.values()
    ]
    arrays = as_operation(call, [steps, *inputs.values()], outputs)
    masks = {(key, "mask"): x for key, x in masks.items()}
    return {**masks, **dict(zip(specs, arrays))}


def as_operation(call, inputs, outputs):
    """Return what `call(*arrays)` does, as one operation of TensorFlow.

    Args:
        call: Function of arrays, which returns a list of arrays.
        inputs: List of tensors.
        outputs: List of pairs of a type and a shape, whose unknown sizes are
            None.

    Returns:
        List of tensors.
    """
    import tensorflow as tf

    dtypes = [tf.as_dtype(dtype) for dtype, _ in outputs]
    found = tf.numpy_function(call, inputs, dtypes, stateful=False)
    # Outside of a graph a list of one comes back as its element.
    found = list(found) if isinstance(found, (list, tuple)) else [found]
    for x, (_, shape) in zip(found, outputs):
        x.set_shape(shape)
    return found


def seconds(program, values):
    """Return how long each layer takes for some samples, in one thread.

    Args:
        program: The network's `lowering.Program`, for inference.
        values: As in `run`.

    Returns:
        Tuple: dict from keys to seconds, and the set of the keys that are
        computed once for all steps.
    """
    inputs = {**values, **read_weights(program)}
    inputs = {
        name: ops.convert_to_numpy(ops.cast(x, "float32"))
        for name, x in inputs.items()
    }
    samples = len(inputs[program.sources[0]])
    time_steps = max(inputs[key].shape[1] for key in program.sources)
    sizes = {"batch": samples, "time": time_steps, "once": 1}
    outputs = {
        name: np.empty(spec.sizes(sizes), spec.dtype)
        for name, spec in _outputs(program, None, False).items()
    }
    spent, held = timing.seconds(
        program.operations, inputs, outputs, time_steps, samples, program.held
    )
    for part in [x for x in spent if isinstance(x, tuple)]:
        # A layer's first half, or what hands its steps on.
        key, _ = part
        spent[key] = spent.get(key, 0.0) + spent.pop(part)
    return spent, held


def read_weights(program):
    """Return the tensors of a program's weights by name."""
    # The layers compute in float32, whatever the model around them does.
    # Keras has no public name for this scope.
    with AutocastScope(None):
        return {name: _tensor(read()) for name, read in program.weights.items()}


def _tensor(x):
    return ops.convert_to_tensor(x.value if isinstance(x, Variable) else x)


@dataclasses.dataclass(frozen=True)
class _Output:
    """A tensor of leading axes, by their names, and those of one sample."""

    shape: tuple
    dtype: str = "float32"
    axes: tuple = ("batch",)

    def sizes(self, leading):
        """Return its shape, given the sizes of leading axes."""
        return (*(leading[axis] for axis in self.axes), *self.shape)


def _outputs(program, statistics, history, states=False):
    """Return the outputs by key and name."""
    shapes, outputs = program.shapes, {}
    for key in program.readouts:
        outputs[key, "state"] = _Output(shapes[key])
    for key in (*program.neurons, *program.counters) if states else ():
        shape = shapes.get((key, "state"), shapes[key])
        outputs[key, "state"] = _Output(shape)
    for key in program.results:
        axis = "once" if key in program.held_results else "time"
        outputs[key, "sequence"] = _Output(
            shapes[key, "sequence"], axes=("batch", axis)
        )
    for key in program.neurons:
        names = STATISTICS.get(statistics, ())
        if statistics == "sums" and key in program.leaky:
            names = (*names, "trace")
        for name in names:
            outputs[key, name] = _Output(shapes[key])
        if history and statistics:
            outputs[key, "history"] = _Output(
                shapes[key], "uint8", ("window", "batch")
            )
    return outputs


def _run(program, inputs, specs, statistics, time_steps):
    """Run all samples; return the list of outputs."""
    sizes = {
        "batch": len(inputs[program.sources[0]]),
        "time": time_steps,
        "once": 1,
        "window": -(-time_steps // WINDOW),
    }
    outputs = {
        name: aligned(spec.sizes(sizes), spec.dtype)
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


@functools.cache
def threads():
    """Return how many threads share a batch, as many as TensorFlow's."""
    import tensorflow as tf

    if chosen := tf.config.threading.get_intra_op_parallelism_threads():
        return chosen
    return samples.cores()
