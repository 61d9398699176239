"""Networks drawn from seeds: every tool gives a plain Keras model's numbers."""

import keras
import pytest

from tests.network import drawing, generated

# Of the first 50, these have every tool, encoder, readout, block and rule at
# least twice, unless it is drawn but once.
SEEDS = [3, 4, 5, 6, 7, 8, 14, 15, 21, 23, 25, 28]
SEEDS += [29, 33, 34, 35, 37, 38, 40, 41, 42, 43, 44, 48]
if keras.config.backend() != "tensorflow":
    # JAX compiles for long.
    SEEDS = range(5)
OTHERS = [x for x in range(50) if x not in SEEDS]


@pytest.mark.parametrize(
    "seed", [*SEEDS, *(pytest.param(x, marks=pytest.mark.long) for x in OTHERS)]
)
def test_every_tool_agrees_with_layer_by_layer(seed, tmp_path):
    generated.run(seed, folder=tmp_path)


@pytest.mark.skipif(
    keras.config.backend() != "tensorflow", reason="some tools are its own"
)
def test_the_seeds_reach_every_tool_and_learn_by_every_rule():
    tools = {seed: generated.tools_of(seed) for seed in SEEDS}
    assert set().union(*tools.values()) == set(generated.TOOLS)
    rules = {drawing.draw(x).rule for x in SEEDS if "fit" in tools[x]}
    assert rules == set(drawing.RULES)
    plans = [drawing.draw(x) for x in SEEDS]
    assert {x.inputs for x in plans} == {"one", "two", "side"}
    assert {b for x in plans for b in x.blocks} == set(drawing.BLOCKS_OF_IMAGES)
