"""The blocks of docs/events.md run, on recordings that are made up."""

import pathlib
import re

import keras
import numpy as np
import pytest

from tests.datasets_events.writers import random_events, write_nmnist

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "events.md"


# A busy machine may be late.
@pytest.mark.filterwarnings("ignore:The network does not keep up")
@pytest.mark.skipif(
    keras.config.backend() != "tensorflow", reason="prints with `.numpy()`"
)
def test_the_page_runs_and_its_last_answer_is_that_of_predict(
    tmp_path, monkeypatch, capsys
):
    rng = np.random.default_rng(0)
    recordings = {
        f"{split}/{digit}/00001.bin": random_events(rng, (34, 34), 2000)
        for split, digit in (("Train", 0), ("Train", 7), ("Test", 7))
    }
    write_nmnist(tmp_path / "data" / "nmnist", recordings)
    monkeypatch.chdir(tmp_path)
    text = PAGE.read_text("utf-8")
    names = {}
    for block in re.findall(r"^```python\n(.*?)^```", text, re.M | re.S):
        exec(compile(block, PAGE.name, "exec"), names)
    printed = capsys.readouterr().out
    assert "(15, 34, 34, 2)" in printed
    assert len(re.findall(r"^\d+ ms: \d$", printed, re.M)) == 15
    assert "True" in printed
    assert len(re.findall(r"^\d+ us: \d, \d+ us late$", printed, re.M)) == 15
    whole = names["model"].predict(names["x_train"][:1], verbose=0)
    np.testing.assert_allclose(names["scores"], whole, rtol=1e-4, atol=1e-5)
