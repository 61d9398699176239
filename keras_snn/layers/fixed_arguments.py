"""Layers whose arguments do not change once they are made."""

import functools
import inspect
import itertools

import keras

# What Keras itself lets a user change, and `self`.
KERAS_ARGUMENTS = set(inspect.signature(keras.layers.Layer.__init__).parameters)


class FixedArguments:
    """A mixin, left of the Keras class, whose arguments are read-only.

    A compiled function has a layer's numbers built in and would go on with
    the old ones, and a number that is set is not checked. So attributes named
    like arguments of `__init__` may be set there, and later only by what a
    layer makes in `build`: a variable or another layer.
    """

    _fixed_names = frozenset()

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if "__init__" in vars(cls):
            cls.__init__ = _fixes_in_the_end(cls.__init__)
        cls._fixed_names = frozenset(_argument_names(cls)) - KERAS_ARGUMENTS

    def __setattr__(self, name, value):
        if name in self._fixed_names and vars(self).get("_is_fixed"):
            if not isinstance(value, (keras.Variable, keras.layers.Layer)):
                self._refuse(name, value)
        super().__setattr__(name, value)

    def _refuse(self, name, value):
        kind = type(self).__name__
        raise AttributeError(
            f"`{name}` of {kind} '{self.name}' cannot be changed: functions "
            "that are compiled already would go on with the old value. "
            f"Received: {name}={value!r}. Make a new layer, e.g. "
            f'{kind}.from_config({{**layer.get_config(), "{name}": ...}}), '
            "and build the model with it."
        )


def _fixes_in_the_end(init):
    """Return an `__init__` after the outermost of which all is fixed."""

    @functools.wraps(init)
    def fixing(self, *args, **kwargs):
        init(self, *args, **kwargs)
        if type(self).__init__ is fixing:
            # Past Keras, which tracks attributes that are layers.
            object.__setattr__(self, "_is_fixed", True)

    # Keras reads the arguments without looking below a wrapper.
    fixing.__signature__ = inspect.signature(init)
    return fixing


def _argument_names(cls):
    """Yield the names of the arguments of a class' own constructors."""
    own = itertools.takewhile(lambda c: c is not FixedArguments, cls.__mro__)
    for base in own:
        if "__init__" in vars(base):
            yield from inspect.signature(base.__init__).parameters
