"""Networks drawn from seeds: every tool gives a plain Keras model's numbers."""

import pytest

from tests.network import generated


@pytest.mark.parametrize("seed", range(50))
def test_every_tool_agrees_with_layer_by_layer(seed, tmp_path):
    generated.run(seed, folder=tmp_path)


def test_fifty_seeds_reach_every_tool():
    assert 3 * 50 > len(generated.TOOLS)
