"""Every example runs with `--smoke`, offline."""

import pathlib
import runpy
import sys

import pytest

EXAMPLES = pathlib.Path(__file__).parents[1] / "examples"


@pytest.mark.slow
@pytest.mark.parametrize(
    "path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem
)
# A process each would import TensorFlow each.
@pytest.mark.filterwarnings("default")
def test_example_runs_and_leaves_its_output(
    path, tmp_path, monkeypatch, capsys
):
    output = tmp_path / "model"
    arguments = [str(path), "--smoke", "--output", str(output)]
    monkeypatch.setattr(sys, "argv", arguments)
    runpy.run_path(str(path), run_name="__main__")
    assert "test accuracy:" in capsys.readouterr().out
    source = path.read_text("utf-8")
    assert len(source.splitlines()) < 150
    assert any(output.iterdir())
    if ".export(" in source:
        assert (output / "saved_model.pb").exists()
