"""Convolutions and dense layers whose kernels are standardized."""

import math

import keras
import numpy as np
from keras import ops

# Keeps a kernel of equal numbers finite, far below any trained one's variance.
EPSILON = 1e-8


class Standardized:
    """What the layers below add to Keras' own: gain, kernel, calibration."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        if not self.use_bias:
            raise ValueError(
                f"{type(self).__name__} has a gain and a bias a channel, which "
                "stand for a normalization's. Received: use_bias=False. Use "
                "the Keras layer for currents without a bias."
            )

    def build(self, input_shape):
        super().build(input_shape)
        *inputs, channels = self._kernel.shape
        self._fan_in = math.prod(inputs)
        if self._fan_in < 2:
            raise ValueError(
                f"{type(self).__name__} takes the mean off each channel's "
                "kernel, so it expects at least two inputs a channel. "
                f"Received: a kernel of shape {tuple(self._kernel.shape)}. Use "
                "the Keras layer here."
            )
        self.gain = self.add_weight(
            name="gain", shape=(channels,), initializer="ones"
        )

    def add_weight(self, *args, name=None, **kwargs):
        if name in ("kernel", "gain"):
            # Statistics want float32, whatever the layer computes in.
            kwargs["autocast"] = False
        return super().add_weight(*args, name=name, **kwargs)

    @property
    def kernel(self):
        """The standardized kernel times the gain, in the compute dtype."""
        return ops.cast(self.effective_weights()[0], self.compute_dtype)

    def effective_weights(self):
        """Return the kernel and the bias of the plain layer equal to this.

        `plain.set_weights(layer.effective_weights())` makes a
        `keras.layers.Conv2D` or `Dense` of the same settings compute the same.

        Returns:
            Tensors `(kernel, bias)` in the dtype of the variables, with
            gradients to them.
        """
        stored = super().kernel
        dtype = keras.backend.result_type(self.variable_dtype, "float32")
        kernel, gain = ops.cast(stored, dtype), ops.cast(self.gain, dtype)
        axes = tuple(range(len(kernel.shape) - 1))
        mean, variance = ops.moments(kernel, axes)
        scale = gain * ops.rsqrt((variance + EPSILON) * self._fan_in)
        kernel = ops.cast((kernel - mean) * scale, self.variable_dtype)
        return kernel, ops.cast(self.bias, self.variable_dtype)

    def calibrate(self, currents_mean, currents_std):
        """Set gain and bias so that currents have mean 0 and variance 1.

            gain <- gain / std,   bias <- (bias - mean) / std

        Fresh weights have gain 1 and bias 0. The statistics may be those
        behind an average pooling of the currents, which is linear.

        Args:
            currents_mean: Mean of each channel's currents, as the layer gives
                them now, over batch, time and space: `(channels,)` or one
                number.
            currents_std: Their standard deviation, likewise; positive.

        Raises:
            ValueError: If the layer has not been built, or for statistics
                that are not finite, of another shape, or do not vary.
        """
        if not self.built:
            raise ValueError(
                f"'{self.name}' has no weights yet. Call it, or the model "
                "that it is in, before `calibrate`."
            )
        mean = self._statistics("currents_mean", currents_mean)
        std = self._statistics("currents_std", currents_std)
        if not np.all(std > 0):
            raise ValueError(
                "`currents_std` must be positive. Received 0 or less for "
                f"channels {np.flatnonzero(std <= 0).tolist()} of "
                f"'{self.name}'. Measure on more samples, and calibrate the "
                "layers before first: a silent layer gives constant currents."
            )
        self.gain.assign(ops.convert_to_numpy(self.gain) / std)
        self.bias.assign((ops.convert_to_numpy(self.bias) - mean) / std)

    def _statistics(self, name, values):
        values = ops.convert_to_numpy(values).astype("float32")
        shape = tuple(self.gain.shape)
        if values.shape not in ((), shape) or not np.all(np.isfinite(values)):
            raise ValueError(
                f"`{name}` must be a finite number for each of the "
                f"{shape[0]} channels of '{self.name}', or one for all. "
                f"Received: shape {values.shape}, {name}={values}."
            )
        return np.broadcast_to(values, shape)

    def enable_lora(self, *args, **kwargs):
        raise ValueError(
            f"{type(self).__name__} standardizes its kernel, so LoRA's small "
            "update of it would be another. Make it a plain layer first: "
            "plain.set_weights(layer.effective_weights())."
        )

    # Keras' layers write `kernel` and `bias` by name: not what is stored here.
    def save_own_variables(self, store):
        keras.layers.Layer.save_own_variables(self, store)

    def load_own_variables(self, store):
        keras.layers.Layer.load_own_variables(self, store)


@keras.saving.register_keras_serializable(package="keras_snn")
class StandardizedConv2D(Standardized, keras.layers.Conv2D):
    """A convolution whose kernel has mean 0 and a fixed norm a channel.

        w_c = g_c * (k_c - mean(k_c)) / sqrt((var(k_c) + 1e-8) * n)
        y_c = w_c * x + b_c,     n = kernel height * width * input channels

    with trainable `k`, a gain `g` (starts at 1) and a bias `b` (starts at 0)
    a channel `c`. It keeps currents in range whatever the depth, as a batch
    normalization does, but has no statistics of a batch: it runs step by
    step, in streams, and trains with a batch of one. The scale of `k` does
    not matter: `keras_snn.models.scale_to_rate` scales the gain instead, and
    `calibrate` sets gain and bias from a first batch.

    `kernel` reads as `w`, so what reads a convolution's kernel and bias finds
    those of an equal plain convolution; `effective_weights` has both. Weight
    decay is for `k` alone: `keras_snn.training.sgd` leaves gain and bias out.

    Args:
        *args: As in `keras.layers.Conv2D`.
        **kwargs: As in `keras.layers.Conv2D`, without `use_bias`.

    Call arguments:
        inputs: Frames, floating point; a `TimeFold` around it takes spikes.

    Input shape:
        `(batch, height, width, channels)`.

    Output shape:
        As `keras.layers.Conv2D`.

    Raises:
        ValueError: For `use_bias=False`, LoRA, or a kernel of one input.

    Example:

    >>> conv = StandardizedConv2D(64, 3, padding="same")
    >>> currents = keras_snn.layers.TimeFold(conv)(spikes)
    >>> mean, variance = keras.ops.moments(currents, (0, 1, 2, 3))
    >>> conv.calibrate(mean, keras.ops.sqrt(variance))

    References:
        - [Qiao et al., 2019](https://arxiv.org/abs/1903.10520),
          "Micro-Batch Training with Batch-Channel Normalization and Weight
          Standardization"
        - [Brock et al., 2021](https://arxiv.org/abs/2101.08692), the scale
          by the number of inputs and the gain
    """


@keras.saving.register_keras_serializable(package="keras_snn")
class StandardizedDense(Standardized, keras.layers.Dense):
    """A dense layer whose kernel has mean 0 and a fixed norm a unit.

        w_c = g_c * (k_c - mean(k_c)) / sqrt((var(k_c) + 1e-8) * n)
        y_c = w_c . x + b_c,     n = number of inputs

    `StandardizedConv2D` says when to take it, and what the gain `g` and the
    bias `b` do.

    Args:
        *args: As in `keras.layers.Dense`.
        **kwargs: As in `keras.layers.Dense`, without `use_bias`.

    Call arguments:
        inputs: Frames, floating point; a `TimeFold` around it takes spikes.

    Input shape:
        `(batch, ..., features)`.

    Output shape:
        `(batch, ..., units)`.

    Raises:
        ValueError: For `use_bias=False`, LoRA, or a single input.

    Example:

    >>> dense = StandardizedDense(100)
    >>> currents = keras_snn.layers.TimeFold(dense)(spikes)
    """
