"""Every example runs with `--smoke`, offline."""

import os
import pathlib
import subprocess
import sys

import pytest

EXAMPLES = pathlib.Path(__file__).parents[1] / "examples"


@pytest.mark.slow
@pytest.mark.parametrize(
    "path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem
)
def test_example_runs_and_leaves_its_output(path, tmp_path):
    output = tmp_path / "model"
    result = subprocess.run(
        [sys.executable, path, "--smoke", "--output", output],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(EXAMPLES.parent)},
    )
    assert result.returncode == 0, result.stderr[-2000:]
    assert "test accuracy:" in result.stdout
    source = path.read_text("utf-8")
    assert len(source.splitlines()) < 150
    assert any(output.iterdir())
    if ".export(" in source:
        assert (output / "saved_model.pb").exists()
