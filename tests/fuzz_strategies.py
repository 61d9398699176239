"""Values like those of `fuzzing.VALUES`, drawn by Hypothesis."""

import decimal
import fractions

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tests import fuzzing

BELOW_ONE = st.floats(1e-3, 1 - 1e-3)
SMALL = st.integers(2, 5)
LONG = st.integers(1, 2)


def numpy_of(kinds, numbers):
    """Return a strategy for scalars of some of NumPy's types."""
    return st.tuples(st.sampled_from(kinds), numbers).map(lambda x: x[0](x[1]))


def array_of(dtype, numbers):
    return LONG.flatmap(lambda n: arrays.arrays(dtype, n, elements=numbers))


def with_nan(values):
    return np.append(values, np.nan)


# What is not here is drawn as it stands in the table.
LIKE = {
    "minus one": st.integers(-(10**6), -1),
    "minus a half": st.floats(-1e6, -1e-3),
    "a half": BELOW_ONE,
    "three": SMALL,
    "huge": st.integers(10**30, 10**36),
    "a word": st.text("qxzäß \n", min_size=1),
    "digits": st.integers(0, 10**6).map(str),
    "bytes": st.binary(),
    "list": st.lists(st.none() | st.lists(st.none())),
    "uneven lists": LONG.map(lambda n: [[None], [0.5] * (n + 1)]),
    "list of words": st.lists(st.text("qxz"), min_size=1),
    "dict": st.dictionaries(st.text(), st.none() | st.integers()),
    "complex": st.complex_numbers(min_magnitude=0.1, max_magnitude=10).filter(
        lambda x: x.imag
    ),
    "decimal": BELOW_ONE.map(decimal.Decimal),
    "fraction": st.integers(2, 99).map(lambda n: fractions.Fraction(1, n)),
    "array": array_of("float32", st.floats(0.125, 0.75, width=32)),
    "array of NaN": array_of("float32", BELOW_ONE).map(with_nan),
    "array of integers": array_of("int64", SMALL),
    "NumPy float": numpy_of([np.float16, np.float32, np.float64], BELOW_ONE),
    "NumPy integer": numpy_of([np.int8, np.uint16, np.int32, np.int64], SMALL),
}


@st.composite
def cases(draw, calls):
    """Draw `(name, function, base, argument, kind, value)` of some calls."""
    name, function, base = calls[draw(st.integers(0, len(calls) - 1))]
    argument = draw(st.sampled_from(fuzzing.arguments_of(function)))
    kind = draw(st.sampled_from(list(fuzzing.VALUES)))
    value = draw(LIKE.get(kind, st.just(fuzzing.VALUES[kind])))
    return name, function, base, argument, kind, value
