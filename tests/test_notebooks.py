"""The notebooks hold what their code prints, and their code runs."""

import contextlib
import io
import json
import logging
import pathlib
import re
from functools import partial

import pytest

NOTEBOOKS = sorted(
    (pathlib.Path(__file__).parents[1] / "examples/notebooks").glob("*.ipynb")
)
# They train as long as their numbers need. Here their code only has to run.
SIZES = {"EPOCHS": "1", "SAMPLES": "128", "TRAIN, TEST": "32, 16"}
each_notebook = pytest.mark.parametrize(
    "path", NOTEBOOKS, ids=lambda path: path.stem
)


def code_cells(path):
    cells = json.loads(path.read_text("utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def printed_in(cell):
    """Return what a cell printed when the notebook was run."""
    streams = [x for x in cell["outputs"] if x["output_type"] == "stream"]
    return "".join(line for x in streams for line in x["text"])


def small(source):
    """Return a cell's source with the sizes of a test."""
    for name, value in SIZES.items():
        source = re.sub(
            rf"^{name} = .*", f"{name} = {value}", source, flags=re.MULTILINE
        )
    return source


def test_there_are_three():
    assert len(NOTEBOOKS) == 3


@each_notebook
def test_it_was_run_from_top_to_bottom_without_complaints(path):
    cells = code_cells(path)
    assert 8 <= len(cells) <= 20
    assert path.stat().st_size < 400_000
    counts = [cell["execution_count"] for cell in cells]
    assert counts == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert {x["output_type"] for x in outputs} <= {
        *("stream", "display_data", "execute_result")
    }
    # Warnings and errors.
    assert [x["text"] for x in outputs if x.get("name") == "stderr"] == []
    assert not re.search("WARNING|Warning", "".join(map(printed_in, cells)))
    assert sum("image/png" in x.get("data", {}) for x in outputs) >= 2


@pytest.mark.slow
@each_notebook
@pytest.mark.filterwarnings("default")
def test_its_code_runs(path, tmp_path, monkeypatch, request):
    pandas = pytest.importorskip("pandas")
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.switch_backend("agg")
    drawn = []

    def show():
        drawn.extend(pyplot.get_fignums())
        pyplot.close("all")

    monkeypatch.setattr(pyplot, "show", show)
    # What a notebook sets holds in it alone.
    logger = logging.getLogger("tensorflow")
    request.addfinalizer(partial(logger.setLevel, logger.level))
    shown = pandas.option_context("display.float_format", None)
    with pyplot.rc_context(), shown:
        run(path, tmp_path, pyplot, drawn)


def run(path, folder, pyplot, drawn):
    """Run a notebook's cells; hold what they do against what is kept."""
    names = {"__name__": "__main__"}
    for number, cell in enumerate(code_cells(path), 1):
        code = small("".join(cell["source"]))
        with (
            contextlib.chdir(folder),
            contextlib.redirect_stdout(io.StringIO()) as output,
        ):
            exec(compile(code, f"{path.name}, cell {number}", "exec"), names)
        committed, printed = printed_in(cell), output.getvalue()
        assert bool(printed) == bool(committed), code
        # What is claimed of any network is true of this one, too.
        claims = re.findall(r"^.*: True$", committed, re.MULTILINE)
        assert [x for x in claims if x not in printed] == []
        has_picture = any(
            "image/png" in x.get("data", {}) for x in cell["outputs"]
        )
        assert bool(drawn) == has_picture, code
        drawn.clear()
    assert pyplot.get_fignums() == []
