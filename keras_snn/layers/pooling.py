"""Max pooling of spike trains."""

import math

import keras
from keras import ops

from keras_snn.layers.time_layer import TimeLayer
from keras_snn.neurons import masks


class MaxRatePooling(TimeLayer):
    """What the layers below have in common; they say how many axes pool."""

    keeps_state = True
    # Keras' layer of the same number of axes.
    pooling = None

    def __init__(self, pool_size=2, strides=None, padding="valid", **kwargs):
        super().__init__(**kwargs)
        self._pool = self.pooling(
            pool_size,
            strides,
            padding,
            data_format="channels_last",
            dtype="float32",
            name=f"{self.name}_pool",
        )
        self.pool_size = self._pool.pool_size
        self.strides = self._pool.strides
        self.padding = self._pool.padding

    def call(self, spikes, mask=None):
        self.check_sequence(spikes)
        # No input leaves the counts as they are, and so the maximum.
        spikes = masks.silenced(spikes, mask)
        shape = ops.shape(spikes)
        state = self.initial_state((shape[0], *shape[2:]))
        return self.window(spikes, state)[0]

    def window(self, sequence, state, training=False):
        counts = ops.cumsum(ops.cast(sequence, "float32"), axis=1)
        counts = counts + ops.expand_dims(state[0], 1)
        shape = ops.shape(counts)
        pooled = self._pooled(ops.reshape(counts, (-1, *shape[2:])))
        pooled = ops.reshape(pooled, (-1, shape[1], *ops.shape(pooled)[1:]))
        first = ops.expand_dims(self._pooled(state[0]), 1)
        before = ops.concatenate([first, pooled[:, :-1]], axis=1)
        return ops.cast(pooled - before, self.compute_dtype), [counts[:, -1]]

    def _pooled(self, counts):
        """Return each window's maximum, NaN if any of it is NaN."""
        # TensorFlow's pooling passes over NaN, but not over infinity.
        pooled = self._pool(ops.where(ops.isnan(counts), math.inf, counts))
        return ops.where(ops.less(pooled, math.inf), pooled, math.nan)

    def initial_state(self, frame_shape, dtype="float32"):
        return [ops.zeros(frame_shape, "float32")]

    def step(self, frame, state, training=False):
        counts = state[0] + ops.cast(frame, "float32")
        output = self._pooled(counts) - self._pooled(state[0])
        return ops.cast(output, self.compute_dtype), [counts]

    def compute_output_shape(self, spikes_shape):
        pooled = self._pool.compute_output_shape((None, *spikes_shape[2:]))
        return (*spikes_shape[:2], *pooled[1:])

    def get_config(self):
        return {
            **super().get_config(),
            "pool_size": self.pool_size,
            "strides": self.strides,
            "padding": self.padding,
        }


@keras.saving.register_keras_serializable(package="keras_snn")
class MaxRatePooling2D(MaxRatePooling):
    """Passes on the spikes of the input that has fired most so far.

        n_i(t) = s_i(1) + ... + s_i(t)            for each input i
        y(t) = max_i n_i(t) - max_i n_i(t-1)      over each window

    Whenever the leading count of a window rises, the pooled neuron fires, so
    after every step it has fired exactly as often as its most active input:
    the rate of the output is the maximum of the rates. (A maximum of the
    spikes themselves fires whenever *any* input does, and is too high.) It is
    the gate of Rueckauer et al., where of several leaders the one that led
    first keeps the lead. Inputs may be analog; then the running sums pool.

    Args:
        pool_size: Integer or pair, size of the window.
        strides: Integer or pair; None is `pool_size`.
        padding: `"valid"` or `"same"`.

    Call arguments:
        spikes: Floating point tensor.
        mask: Which steps exist, (batch, time). At the others counts stay.

    Input shape:
        `(batch, time, height, width, channels)`.

    Output shape:
        `(batch, time, pooled height, pooled width, channels)`.

    Raises:
        ValueError: For arguments that `keras.layers.MaxPooling2D` refuses,
            or input without these axes.

    Example:

    >>> spikes = np.zeros((1, 4, 1, 2, 1), "float32")
    >>> spikes[0, 0::2, 0, 0] = spikes[0, 1::2, 0, 1] = 1    # in turns
    >>> MaxRatePooling2D((1, 2))(spikes)[0, :, 0, 0, 0]      # 1 0 1 0

    References:
        - [Rueckauer et al., 2017](https://doi.org/10.3389/fnins.2017.00682)
    """

    min_rank = 5
    axes = "(batch, time, height, width, channels)"
    pooling = keras.layers.MaxPooling2D


@keras.saving.register_keras_serializable(package="keras_snn")
class MaxRatePooling1D(MaxRatePooling):
    """`MaxRatePooling2D` along one axis.

        n_i(t) = s_i(1) + ... + s_i(t)            for each input i
        y(t) = max_i n_i(t) - max_i n_i(t-1)      over each window

    Args:
        pool_size: Integer, size of the window.
        strides: Integer; None is `pool_size`.
        padding: `"valid"` or `"same"`.

    Call arguments:
        spikes: Floating point tensor.
        mask: Which steps exist, (batch, time). At the others counts stay.

    Input shape:
        `(batch, time, length, channels)`.

    Output shape:
        The input's with the pooled sizes.

    Raises:
        ValueError: For arguments that `keras.layers.MaxPooling1D` refuses,
            or input without these axes.
    """

    min_rank = 4
    axes = "(batch, time, length, channels)"
    pooling = keras.layers.MaxPooling1D


@keras.saving.register_keras_serializable(package="keras_snn")
class MaxRatePooling3D(MaxRatePooling):
    """`MaxRatePooling2D` along three axes.

        n_i(t) = s_i(1) + ... + s_i(t)            for each input i
        y(t) = max_i n_i(t) - max_i n_i(t-1)      over each window

    Args:
        pool_size: Integer or triple, size of the window.
        strides: Integer or triple; None is `pool_size`.
        padding: `"valid"` or `"same"`.

    Call arguments:
        spikes: Floating point tensor.
        mask: Which steps exist, (batch, time). At the others counts stay.

    Input shape:
        `(batch, time, depth, height, width, channels)`.

    Output shape:
        The input's with the pooled sizes.

    Raises:
        ValueError: For arguments that `keras.layers.MaxPooling3D` refuses,
            or input without these axes.
    """

    min_rank = 6
    axes = "(batch, time, depth, height, width, channels)"
    pooling = keras.layers.MaxPooling3D
