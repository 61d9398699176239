"""What TensorFlow has to be told to compile, and JAX compiles anyway."""

import contextlib
import functools

import keras
from keras.src.backend import AutocastScope

from keras_snn import event_driven
from keras_snn.running.scopes import own_process, portable


def event_driven_program(network, training, learning=False):
    """Return the engine's program for what is computed now, or None.

    Args:
        network: The `Network`.
        training: Whether dropout applies.
        learning: Whether a learning rule wants to know of the spikes.
    """
    if not event_driven_layers(network.model):
        return None
    try:
        program = event_driven.Program(network, training)
    except event_driven.Unknown:
        return None
    return None if learning and program.learning_reason else program


def event_driven_split(network):
    """Return how inference is split between the engine and Keras, or None.

    Args:
        network: The `Network`, of which the engine does not know all layers.
    """
    if not event_driven_layers(network.model):
        return None
    return event_driven.split(network)


def event_driven_layers(model):
    """Return whether single layers may run event by event now."""
    return _may_call_python(model) and not event_driven.why_not()


def _may_call_python(model):
    """Return whether the graph that is made now may call Python."""
    if keras.config.backend() != "tensorflow" or portable.on:
        return False
    import tensorflow as tf

    # Without a graph, and in one that nobody else will run.
    if tf.executing_eagerly():
        return True
    return own_process.on and not getattr(model, "jit_compile", False)


def on_processors():
    """Return whether TensorFlow runs operations on processors, each by itself.

    JAX compiles all of them together.
    """
    if keras.config.backend() != "tensorflow":
        return False
    import tensorflow as tf

    kinds = {x.device_type for x in tf.config.list_physical_devices()}
    return kinds == {"CPU"}


def fused(function):
    """Return `function` as one pass over memory on every backend.

    JAX compiles the whole step anyway. TensorFlow would run one pass an
    operation, which it does in the scope of `portable`.
    """
    if keras.config.backend() != "tensorflow":
        return function
    import tensorflow as tf

    compiled = tf.function(function, jit_compile=True, autograph=False)

    @functools.wraps(function)
    def run(*args):
        return (function if portable.on else compiled)(*args)

    return run


def traced_once(function):
    """Return `function`, which Python runs once for arguments of one shape.

    Within a TensorFlow graph later calls refer to the graph of the first.
    """
    if keras.config.backend() != "tensorflow":
        return function
    import tensorflow as tf

    if not tf.inside_function():
        return function
    return tf.function(function, autograph=False)


def graph_of(function, *arguments):
    """Return a function without arguments: a TensorFlow graph of a call."""
    import tensorflow as tf

    return tf.function(lambda: function(*arguments), autograph=False)


def read_weights_first(model, values):
    """Return the model's weights, and `values` that wait for their reading.

    The layers that credit flows back through read their weights in a pass
    whose own values nobody uses. TensorFlow's graph optimizer relies on a path
    through that pass to keep the reading before the optimizer's update, then
    drops the path: some layers were credited through weights that had just
    been updated. `with_weights` gives them these instead.

    Args:
        model: The model.
        values: List of tensors that the loop over time starts from.

    Returns:
        Tuple: list of tensors, empty where nothing can go wrong; `values`.
    """
    if keras.config.backend() != "tensorflow":
        return [], values
    import tensorflow as tf

    # Each layer casts them as its own policy says. Keras has no public name
    # for this scope.
    with AutocastScope(None):
        variables = [v.value for v in model.trainable_variables]
    weights = list(map(tf.convert_to_tensor, variables))
    with tf.control_dependencies(weights):
        return weights, [tf.identity(x) for x in values]


@contextlib.contextmanager
def with_weights(model, weights):
    """Within this scope the model has the weights of `read_weights_first`.

    What other variables are set to, moving averages and seeds, they keep.
    """
    if not weights:
        yield
        return
    pairs = zip(model.trainable_variables, weights, strict=True)
    # Which takes them in the type that variables have in the scope around it.
    with AutocastScope(None):
        scope = keras.StatelessScope(list(pairs))
    with scope:
        yield
    for v in model.non_trainable_variables:
        value = scope.get_current_value(v)
        if value is not None:
            v.assign(value)


def waiting(values, tensors):
    """Return a dict of tensors that are not computed before other tensors.

    Where an operation has room for all it may need at once, TensorFlow starts
    whatever it can.
    """
    if keras.config.backend() != "tensorflow":
        return values
    import tensorflow as tf

    with tf.control_dependencies(tensors):
        return {key: tf.identity(x) for key, x in values.items()}


def checked_equal(sizes, tensors, message):
    """Return a size that all of `sizes` equal, and `tensors` that wait for it.

    What uses the tensors alone, as the engine does, must not run first. Where
    shapes are known before, nothing is added to the graph.

    Args:
        sizes: List of integers, or scalar tensors.
        tensors: List of tensors.
        message: What to say where one size differs.
    """
    first, *others = sizes
    known = all(isinstance(x, int) for x in sizes)
    on_tensorflow = keras.config.backend() == "tensorflow"
    if known or not others or not on_tensorflow or portable.on:
        return first, tensors
    import tensorflow as tf

    checks = [tf.debugging.assert_equal(x, first, message) for x in others]
    with tf.control_dependencies(checks):
        return tf.identity(first), [tf.identity(x) for x in tensors]
