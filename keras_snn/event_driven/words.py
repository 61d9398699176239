"""Words that hold what a neuron did at some steps, one bit a step."""

# Steps whose bits a byte has, and any word that there is.
OF_BYTE, MOST_STEPS = 8, 31


def word_for(time_steps):
    """Return the type of words for so many steps."""
    return "uint8" if time_steps <= OF_BYTE else "int32"
