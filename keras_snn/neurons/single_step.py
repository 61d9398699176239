"""The derivative of one time step, for cells that run inside a RNN."""

from keras import ops

from keras_snn.neurons.dynamics import fire, reset_and_leak
from keras_snn.neurons.surrogates import Surrogate


def lif_step_with_rule(
    membrane_potential, current, beta, threshold, reset, learning_rule
):
    """Advance one step, differentiable by `learning_rule`.

    A surrogate gives backpropagation through time. `"exact"` and
    `"collapsed"` give the recurrence of the exact rule,

        d(t) = G(t) / threshold where s(t) else d(t+1),

    without the leak correction, which needs the whole spike train and so is
    no business of a single step: the layer `LIF` has it.

    Returns:
        Tuple `(spikes, membrane_potential)`.
    """
    u = membrane_potential + current
    if isinstance(learning_rule, Surrogate):
        spikes = learning_rule(u - threshold)
        v = reset_and_leak(u, ops.stop_gradient(spikes), beta, threshold, reset)
        return spikes, v
    return _spikes(u, threshold), _potential(u, beta, threshold, reset)


def _spikes(u, threshold):
    @ops.custom_gradient
    def spikes_of(u):
        spikes = fire(u, threshold)

        def grad(*args, upstream=None):
            if upstream is None:
                (upstream,) = args
            return spikes * upstream / threshold

        return spikes, grad

    return spikes_of(u)


def _potential(u, beta, threshold, reset):
    @ops.custom_gradient
    def potential_of(u):
        spikes = fire(u, threshold)

        def grad(*args, upstream=None):
            if upstream is None:
                (upstream,) = args
            return (1.0 - spikes) * upstream

        return reset_and_leak(u, spikes, beta, threshold, reset), grad

    return potential_of(u)
