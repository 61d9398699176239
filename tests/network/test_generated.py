"""Networks drawn from seeds: every tool gives a plain Keras model's numbers."""

import keras
import pytest

from tests.network import drawing, generated

# JAX compiles for long.
SEEDS = range(50 if keras.config.backend() == "tensorflow" else 5)


@pytest.mark.parametrize("seed", SEEDS)
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
