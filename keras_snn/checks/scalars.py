"""Checks of one number or one word."""

import math
import numbers

import numpy as np

# What the backends count with.
LARGEST = 2**31 - 1


def is_integer(value, least=-math.inf):
    """Return whether `value` is an integer, no bool, of at least `least`."""
    is_int = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    return is_int and value >= least


def flag(name, value):
    """Return `value`, True or False, as a bool."""
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    raise ValueError(
        f"`{name}` must be True or False. Received: {name}={value!r} (of type "
        f"{type(value).__name__})."
    )


def integer(name, value, least=1, meaning="", advice=""):
    """Return `value` as an int of at least `least`.

    Args:
        name: What the argument is called.
        value: What was given.
        least: The smallest integer allowed.
        meaning: What it is the number of, for the message.
        advice: What to do instead, a sentence for the message.
    """
    if is_integer(value, least) and value <= LARGEST:
        return int(value)
    kind = f"an integer, at least {least}"
    if least == 1:
        kind = "a positive integer"
    if is_integer(value) and value > LARGEST:
        kind += f", at most {LARGEST}"
    raise ValueError(_message(name, value, f"be {kind}", meaning, advice))


def real_number(name, value, rule=""):
    """Return `value` as a float.

    Args:
        name: What the argument is called.
        value: What was given.
        rule: What else holds for it, for the message.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        rule = f" `{name}` must {rule}." if rule else ""
        raise ValueError(
            f"`{name}` must be a real number. Received: {name}={value!r} "
            f"(of type {type(value).__name__}).{rule}"
        )
    return float(value)


def number(name, value, interval, meaning="", advice="", of=""):
    """Return `value` as a float that lies in `interval`.

    Args:
        name: What the argument is called.
        value: What was given.
        interval: As it is written on paper: `"(0, 1]"` excludes 0 and
            includes 1; `"(0, inf)"` are all positive, finite numbers.
        meaning: What it is, for the message.
        advice: What to do instead, a sentence for the message.
        of: Whose argument it is, for the message.
    """
    rule = _IN_WORDS.get(interval, f"lie in {interval}")
    value = real_number(name, value, rule)
    if _lies_in(value, interval):
        return value
    raise ValueError(_message(name, value, rule, meaning, advice, of))


_IN_WORDS = {
    "(-inf, inf)": "be finite",
    "(0, inf)": "be positive and finite",
    "[0, inf)": "be finite and at least 0",
}


def _lies_in(value, interval):
    low, high = (float(end) for end in interval[1:-1].split(","))
    above = value > low if interval[0] == "(" else value >= low
    below = value < high if interval[-1] == ")" else value <= high
    return above and below


def number_or_array(name, value, interval, advice=""):
    """Return `value` as a float, or as a float32 array that is read-only.

    For constants that may differ from neuron to neuron. An array has one
    entry a neuron, or axes that broadcast to the neurons' as in NumPy.

    Args:
        name: What the argument is called.
        value: What was given: a number, or a list or array of numbers.
        interval: In which all of them lie; see `number`.
        advice: What to do instead, a sentence for the message.
    """
    if not isinstance(value, (list, tuple, np.ndarray)):
        return number(name, value, interval, advice=advice)
    given = array(name, value)
    if not given.ndim:
        return number(name, value, interval, advice=advice)
    if given.dtype.kind not in "iuf" or not given.size:
        raise ValueError(
            f"`{name}` must be a real number, or an array of one for each "
            f"neuron or channel. Received: an array of {given.dtype}, shape "
            f"{given.shape}."
        )
    found = given.astype("float32")
    for entry in found.flat:
        number(name, float(entry), interval, "in all entries", advice)
    found.setflags(write=False)
    return found


def array(name, value):
    """Return `value` as an array; one of NumPy's, as on a disk, stays as it is.

    Raises:
        ValueError: If there are lists in it of more than one length.
    """
    try:
        return np.asanyarray(value)
    except ValueError:
        raise ValueError(
            f"`{name}` must be a number or an array, with lists of one length. "
            f"Received: {name}={value!r}."
        ) from None


def in_config(value):
    """Return a number, or an array as nested lists, as configs hold them."""
    return np.asarray(value).tolist()


def constant(name, value, interval, meaning="", advice=""):
    """Return `value`: a float in `interval`, or a tensor as it is.

    For functions that run within compiled loops: numbers are looked at while
    these are traced, tensors never.
    """
    if hasattr(value, "dtype") and not isinstance(value, numbers.Real):
        return value
    return number(name, value, interval, meaning, advice)


def choice(name, value, options):
    """Return `value` if it is one of the words `options`."""
    # First by type: an array would be compared element by element.
    if isinstance(value, str) and value in options:
        return value
    known = ", ".join(f'"{option}"' for option in options)
    raise ValueError(_message(name, value, f"be one of {known}"))


def _message(name, value, rule, meaning="", advice="", of=""):
    whose = f" of {of}" if of else ""
    rule += f", {meaning}" if meaning else ""
    advice = f" {advice}" if advice else ""
    return f"`{name}`{whose} must {rule}. Received: {name}={value!r}.{advice}"
