"""A functional model that runs with the loop over time outside its layers."""

from __future__ import annotations

import functools
import inspect
import warnings
from typing import Any

import keras

from keras_snn import checks, event_driven
from keras_snn.network import Network, readable
from keras_snn.running import (
    by_products,
    heap,
    layer_events,
    layer_first,
    obstacles,
    time_first,
    windows,
)
from keras_snn.running.losses_check import warn_of_probabilities
from keras_snn.running.scopes import (
    in_turn,
    inference_only,
    own_process,
    penalized,
    portable,
)
from keras_snn.running.shared_model import SharedModel


@readable
@keras.saving.register_keras_serializable(package="keras_snn")
class Model(SharedModel, keras.Model):
    """A functional `keras.Model` whose memory does not grow with time.

    `keras_snn.Model(inputs, outputs)` is built, compiled, fitted, saved and
    exported like `keras.Model(inputs, outputs)`, and gives the same results.
    What differs is the order of the work: all layers take step 1, then all
    take step 2, and so on, and no step is kept. This happens

    - in `predict` and `evaluate`, for any model whose sequences go through
      layers of `keras_snn.layers` and merges, and end in a readout;
    - in `fit`, if besides all spiking layers learn by `"collapsed"` or
      `"rate"` and the layers between them are linear (convolution, dense,
      average pooling, flatten, padding). One backward pass then serves all
      steps. With batch normalization between them, and with few steps, a
      layer takes all steps before the next one does (see
      `training_order`);
    - in `fit` by the `"exact"` rule, if T is fixed and no layer between works
      on all steps together (batch normalization). One bit a spike is kept;
    - in `fit` by a surrogate, through time, if `remat_steps` is set: the
      state is kept every so many steps, and the steps between are computed
      again in the backward pass. Memory goes from T steps to
      `remat_steps + T / remat_steps`, least at the square root of T, for
      about a third more time.

    Anything else runs layer by layer, as in `keras.Model`; the property
    `runs_layer_by_layer` tells whether and why.

    Args:
        inputs: Input(s), `keras.Input` objects.
        outputs: Output(s).
        name: Name of the model.
        remat_steps: Steps laid out at once in backpropagation through time;
            None (default) lays out all of them. Also an attribute, for models
            that a builder or `keras.models.clone_model` returned.

    Raises:
        ValueError: If `remat_steps` is no positive integer.

    Example:

    >>> images = keras.Input((28, 28, 1))
    >>> x = keras_snn.layers.PoissonEncoder(time_steps=25)(images)
    >>> x = keras_snn.layers.TimeFold(keras.layers.Flatten())(x)
    >>> x = keras_snn.layers.TimeFold(keras.layers.Dense(100))(x)
    >>> x = keras_snn.layers.LIF()(x)
    >>> x = keras_snn.layers.TimeFold(keras.layers.Dense(10))(x)
    >>> model = keras_snn.Model(images, keras_snn.layers.MembraneReadout()(x))
    """

    def __init__(
        self, *args: Any, remat_steps: int | None = None, **kwargs: Any
    ) -> None:
        if len(args) < 2 and not {"inputs", "outputs"} & kwargs.keys():
            raise ValueError(
                "keras_snn.Model expects symbolic inputs and outputs, as in "
                "keras_snn.Model(inputs, outputs). For a subclassed model use "
                "keras.Model."
            )
        super().__init__(*args, **kwargs)
        self.network = Network(self)
        self.rates_of_fit = by_products.Rates()
        # Keras tells a callback its model, but not what it is in a list with.
        self.callbacks_of_fit = ()
        self.remat_steps = remat_steps

    @property
    def remat_steps(self) -> int | None:
        """Steps laid out at once in backpropagation through time."""
        return self._remat_steps

    @remat_steps.setter
    def remat_steps(self, steps):
        if steps is not None:
            steps = checks.integer(
                "remat_steps",
                steps,
                1,
                "a number of time steps (about the square root of T is "
                "leanest), or None",
            )
        self._remat_steps = steps
        # A step that was traced before would go on as it is.
        self.train_function = None

    @property
    def runs_layer_by_layer(self) -> str | None:
        """Why `fit` runs layer by layer, or None if it does not.

        With a surrogate, the exact rule, or batch normalization that learns,
        data of unknown T does, too.
        """
        return self.network.no_loop or self._no_training_loop

    @property
    def _no_training_loop(self):
        """Why a network with one loop cannot learn in it, or None.

        As its layers are now: they may be unfrozen, or get a regularizer.
        """
        if self.network.no_loop:
            return None
        return obstacles.obstacle_to_training(self.network, self._remat_steps)

    @property
    def training_order(self) -> str:
        """In which order `fit` runs steps and layers.

        - `"time first"`: all layers take step 1, then step 2, and so on; no
          step is kept;
        - `"layer first"`: a layer takes all steps, then the next one does;
          one layer's steps are kept. Where batch normalization learns, which
          sees all steps together, and with the rate rule at up to 8 steps,
          where dense products are faster so;
        - `"layer by layer"`, as in `keras.Model`: all steps of all layers are
          kept; `runs_layer_by_layer` says why.
        """
        if self.runs_layer_by_layer:
            return "layer by layer"
        return obstacles.order_to_train(self.network)[0]

    def dense_reason(self, training: bool = False) -> str | None:
        """Return why the model does not run event by event, or None if it does.

        In `predict` and `evaluate` layers that the engine does not know run
        through Keras between those that it knows. The text names them then,
        and says that the others run event by event. In `fit` by the `"exact"`
        rule the backward pass alone may run densely; the text says so, and
        names the first layer in its way. Of a network that learns layer first
        it says that, and whether layers of it run event by event all the same.

        The answer is for its own `fit`, `evaluate` and `predict`. Within
        another model, and in a `tf.function` or a `train_step` of one's own,
        it runs densely.

        Args:
            training: Whether to answer for `fit`; else for `predict`.

        Returns:
            A text that names the layer or the setting in the way of the
            event-driven engine, or None. See `keras_snn.event_driven`.
        """
        reason = self._engine_is_off(training) or self._own_step(training)
        if reason is not None:
            return reason
        try:
            program = event_driven.Program(self.network, training)
        except event_driven.Unknown as unknown:
            split = None if training else self.event_driven_split()
            return str(unknown) if split is None else split.reason
        if not training:
            return None
        reason = program.learning_reason
        if reason is None and obstacles.rule_of(self.network) == "exact":
            reason = event_driven.backward_reason(program)
        return reason

    def _engine_is_off(self, training=False):
        """Return why the engine runs no layer, whatever it knows, or None."""
        reason = event_driven.why_not() or self.network.no_loop
        if reason is None and training:
            rule = obstacles.rule_of(self.network)
            reason = self._no_training_loop
            if reason is None and rule == "surrogate":
                reason = "its spiking layers learn through time"
            elif reason is None:
                order, why = obstacles.order_to_train(self.network)
                if order == "layer first":
                    reason = f"it learns {order}: {why}"
                    steps = [x.shape[1] for x in self.network.sources]
                    if layer_events.few_enough(steps) and not self.jit_compile:
                        reason += (
                            ". Convolutions and dense layers of spikes, with "
                            "the neurons behind them, run event by event"
                        )
        if reason is None and self.jit_compile:
            reason = "it is compiled with jit_compile=True"
        return reason

    def _own_step(self, training):
        """Return that a subclass has its own steps, or None."""
        names = ["train_step"] if training else ["predict_step", "test_step"]
        for name in names:
            if getattr(type(self), name) is not getattr(Model, name):
                return (
                    f"the `{name}` of {type(self).__name__} is its own; event "
                    f"by event runs only what it leaves to super().{name}()"
                )
        return None

    def event_driven_split(self) -> Any:
        """Return how `predict` runs where the engine knows but some layers.

        Returns:
            An `event_driven.segments.Split`: which layers run in the engine,
            and which through Keras, and why. None if all layers run in one or
            the other.
        """
        if self._engine_is_off() is not None:
            return None
        return event_driven.split(self.network)

    def runs_densely(self, training: bool = False) -> str | None:
        """Return what `dense_reason` does. Deprecated."""
        warnings.warn(
            "Model.runs_densely() is now called dense_reason(), after what it "
            "returns.",
            DeprecationWarning,
            stacklevel=2,
        )
        return self.dense_reason(training)

    def call(
        self, inputs: Any, training: bool | None = None, mask: Any = None
    ) -> Any:
        self.network.check_pixels(inputs)
        inference = inference_only.on and not training
        if penalized.on and not by_products.rates_suffice(self.network):
            # The loss counts what only whole sequences show.
            inference = False
        masked = any(x is not None for x in keras.tree.flatten(mask))
        # What was built with training=True trains unless a caller says not to.
        trains = training is None and self.network.trains_always
        layer_by_layer = self._no_training_loop and not inference
        if self.network.no_loop or masked or trains or layer_by_layer:
            return super().call(inputs, training=training, mask=mask)
        rule, training = obstacles.rule_of(self.network), bool(training)
        one_pass = rule in ("collapsed", "rate")
        if not inference and one_pass and self.training_order == "layer first":
            if self._time_is_unknown(inputs):
                return super().call(inputs, training=training, mask=mask)
            return layer_first.run(self.network, inputs, training)
        if inference or one_pass:
            return time_first.run(
                self.network, inputs, training, differentiable=not inference
            )
        if self._time_is_unknown(inputs):
            return super().call(inputs, training=training, mask=mask)
        if rule == "exact":
            return windows.run_exact(self.network, inputs, training)
        return windows.run_surrogate(
            self.network, inputs, training, self.remat_steps
        )

    def _time_is_unknown(self, inputs):
        """Return whether a sequence has no fixed T."""
        known = self.network.start(inputs)
        return any(
            known.get(x.key, x).shape[1] is None for x in self.network.sources
        )

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        if self.remat_steps is not None:
            config["remat_steps"] = self.remat_steps
        return config

    @functools.wraps(keras.Model.fit)
    def fit(self, *args, **kwargs):
        bound = inspect.signature(super().fit).bind(*args, **kwargs)
        given = bound.arguments
        # Not in `compile`: Keras does not compile loaded models that have
        # one of their own.
        if self.compiled:
            warn_of_probabilities(self.network, self.loss)
        callbacks = given.get("callbacks")
        names = self._rates_known()
        self.rates_of_fit.start(names)
        if isinstance(callbacks, keras.callbacks.CallbackList):
            # Made up already: nothing can be added.
            self.callbacks_of_fit = tuple(callbacks.callbacks)
        else:
            more = keras.tree.flatten(callbacks) if callbacks else []
            if names:
                more.append(
                    by_products.SilenceNotice(self.network, self.rates_of_fit)
                )
            if keras.config.backend() == "tensorflow":
                more.append(heap.KeepMemory())
            given["callbacks"] = more
            self.callbacks_of_fit = tuple(more)
        try:
            return super().fit(*bound.args, **bound.kwargs)
        finally:
            self.rates_of_fit.stop()
            self.callbacks_of_fit = ()
            if keras.config.backend() == "tensorflow":
                heap.give_back()

    @functools.wraps(keras.Model.predict)
    def predict(self, *args, **kwargs):
        with in_turn():
            return super().predict(*args, **kwargs)

    @functools.wraps(keras.Model.predict_on_batch)
    def predict_on_batch(self, *args, **kwargs):
        with in_turn():
            return super().predict_on_batch(*args, **kwargs)

    @functools.wraps(keras.Model.test_on_batch)
    def test_on_batch(self, *args, **kwargs):
        with in_turn():
            return super().test_on_batch(*args, **kwargs)

    @functools.wraps(keras.Model.evaluate)
    def evaluate(self, *args, **kwargs):
        with in_turn():
            return super().evaluate(*args, **kwargs)

    def _rates_known(self):
        """Return names of the nodes whose spikes `fit` counts for its rule."""
        if self.runs_layer_by_layer or obstacles.rule_of(self.network) not in (
            "collapsed",
            "rate",
        ):
            return []
        return [x.name for x in self.network.looped_neurons]

    def train_step(self, *args: Any, **kwargs: Any) -> Any:
        with own_process(not self.jit_compile):
            return super().train_step(*args, **kwargs)

    def test_step(self, *args: Any, **kwargs: Any) -> Any:
        own = own_process(not self.jit_compile)
        with inference_only(), penalized(), own:
            return super().test_step(*args, **kwargs)

    def predict_step(self, *args: Any, **kwargs: Any) -> Any:
        with inference_only(), own_process(not self.jit_compile):
            return super().predict_step(*args, **kwargs)

    def export(self, *args: Any, **kwargs: Any) -> None:
        with inference_only(), portable():
            return super().export(*args, **kwargs)
