"""A functional model that runs with the loop over time outside its layers."""

import contextlib
import threading

import keras

from keras_snn.layers.encoders import Encoder
from keras_snn.models import plan as planning
from keras_snn.models import time_first

_scope = threading.local()


@contextlib.contextmanager
def inference_only(portable=False):
    """Within this scope models compute outputs, without gradients.

    Args:
        portable: Whether to use plain operations only, which any program
            that reads an exported graph knows.
    """
    before = _scope_now()
    _scope.inference, _scope.portable = True, portable
    try:
        yield
    finally:
        _scope.inference, _scope.portable = before


def _scope_now():
    return (
        getattr(_scope, "inference", False),
        getattr(_scope, "portable", False),
    )


@keras.saving.register_keras_serializable(package="keras_snn")
class Model(keras.Model):
    """A functional `keras.Model` whose memory does not grow with time.

    `keras_snn.Model(inputs, outputs)` is built, compiled, fitted, saved and
    exported like `keras.Model(inputs, outputs)`, and gives the same results.
    What differs is the order of the work: all layers take step 1, then all
    take step 2, and so on, and no step is kept. This happens

    - in `predict` and `evaluate`, for any model whose sequences go through
      layers of `keras_snn.layers` and merges, and end in a readout;
    - in `fit`, if besides all spiking layers learn by `"collapsed"` and the
      layers between them are linear (convolution, dense, average pooling,
      flatten, padding). One backward pass then serves all steps.

    Anything else runs layer by layer, as in `keras.Model`; the property
    `runs_layer_by_layer` tells whether and why.

    Args:
        inputs: Input(s), `keras.Input` objects.
        outputs: Output(s).
        name: Name of the model.

    Example:

    >>> images = keras.Input((28, 28, 1))
    >>> x = keras_snn.layers.PoissonEncoder(time_steps=25)(images)
    >>> x = keras_snn.layers.TimeFold(keras.layers.Flatten())(x)
    >>> x = keras_snn.layers.TimeFold(keras.layers.Dense(100))(x)
    >>> x = keras_snn.layers.LIF()(x)
    >>> x = keras_snn.layers.TimeFold(keras.layers.Dense(10))(x)
    >>> model = keras_snn.Model(images, keras_snn.layers.MembraneReadout()(x))
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._plan, self._no_loop = planning.make_plan(self)
        self._no_collapse = None
        if self._plan is not None:
            self._no_collapse = self._plan.obstacle_to_collapse()

    @property
    def runs_layer_by_layer(self):
        """Why `fit` runs layer by layer, or None if it does not."""
        return self._no_loop or self._no_collapse

    def call(self, inputs, training=None, mask=None):
        self._check_pixels(inputs)
        inference, portable = _scope_now()
        inference = inference and not training
        if self._no_loop or (self._no_collapse and not inference):
            return super().call(inputs, training=training, mask=mask)
        outputs, _, _ = time_first.run(
            self._plan,
            self,
            self._standardize_inputs(inputs),
            training=bool(training),
            differentiable=not inference,
            fused=not portable,
        )
        return keras.tree.pack_sequence_as(self._outputs_struct, outputs)

    def _check_pixels(self, inputs):
        """Refuse integer images, which Keras would cast without scaling."""
        if not any(isinstance(layer, Encoder) for layer in self.layers):
            return
        for x in keras.tree.flatten(inputs):
            dtype = keras.backend.standardize_dtype(x.dtype)
            if "int" in dtype:
                raise ValueError(
                    f"'{self.name}' expects floating point images, scaled to "
                    f"[-1, 1]. Received: dtype {dtype}, in which every pixel "
                    "above 0 would spike at every step. Scale them first, "
                    'e.g. images.astype("float32") / 255.'
                )

    def test_step(self, *args, **kwargs):
        with inference_only():
            return super().test_step(*args, **kwargs)

    def predict_step(self, *args, **kwargs):
        with inference_only():
            return super().predict_step(*args, **kwargs)

    def export(self, *args, **kwargs):
        with inference_only(portable=True):
            return super().export(*args, **kwargs)
