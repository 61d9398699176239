"""The site builds without a warning, and what it says is true."""

import contextlib
import html
import importlib
import importlib.util
import inspect
import io
import os
import pathlib
import re
import subprocess
import sys
import warnings

import numpy as np
import pytest

import keras_snn

ROOT = pathlib.Path(__file__).parents[1]
DOCS = ROOT / "docs"

# The guide trains as long as its numbers need. Here each block only has to
# run: for one epoch, on the first images.
EPOCHS = "EPOCHS = 1"
IMAGES = slice(256)
# After so few updates the averages of normalizations are still far off.
LAGGING = "Most neurons"

# These pages go on with the guide's variables.
PAGES = (
    "tensorboard.md",
    "cost.md",
    "conversion.md",
    "streaming.md",
    "event_driven.md",
    "precision_and_backends.md",
)

BUILD = """
import sys


class NoBackend:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("keras", "tensorflow", "jax", "numpy"):
            raise ImportError(f"the documentation has to do without {name}")


sys.meta_path.insert(0, NoBackend())

from mkdocs.__main__ import cli

cli()
"""


def module_of(path):
    """Return a Python file of the documentation as a module."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def code_blocks(page):
    """Return the Python blocks of a page, in order."""
    text = (DOCS / page).read_text("utf-8")
    return re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def run_blocks(page, names, epochs=EPOCHS):
    """Run a page's blocks in `names`; return what each printed."""
    printed = []
    for number, block in enumerate(code_blocks(page), 1):
        code = re.sub(r"^EPOCHS = \d+", epochs, block, flags=re.MULTILINE)
        with contextlib.redirect_stdout(io.StringIO()) as output:
            exec(compile(code, f"{page}, block {number}", "exec"), names)
        printed.append(output.getvalue())
    return printed


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Build the site, without a backend, and return its pages by path."""
    folder = tmp_path_factory.mktemp("site")
    result = subprocess.run(
        [
            *(sys.executable, "-c", BUILD),
            *("build", "--strict", "--site-dir", folder),
        ],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr[-4000:]
    return {
        path.relative_to(folder).as_posix(): path.read_text("utf-8")
        for path in folder.rglob("*.html")
    }


def public_names():
    """Return the dotted names of all that users import."""
    modules = [*keras_snn._MODULES, "datasets.events", "study"]
    for name in modules:
        module = importlib.import_module(f"keras_snn.{name}")
        names = getattr(module, "__all__", None) or [
            key
            for key, value in vars(module).items()
            if getattr(value, "__module__", None) == module.__name__
            and not key.startswith("_")
        ]
        values = {key: getattr(module, key) for key in names}
        yield from (
            f"{module.__name__}.{key}"
            for key, value in values.items()
            if not inspect.ismodule(value)
        )


def test_every_public_name_is_in_the_reference(site):
    anchors = {
        anchor
        for path, page in site.items()
        if path.startswith("api/")
        for anchor in re.findall(r'id="(keras_snn[\w.]+)"', page)
    }
    names = set(public_names())
    assert len(names) > 80
    assert sorted(names - anchors) == []


def test_no_section_of_a_docstring_is_left_as_text(site):
    section = re.compile(
        r"<p>((?:Args|Call arguments|Input shape|Output shape|Returns|Raises"
        r"|Example|References|Attributes):.{0,80})"
    )
    left = {
        path: section.findall(page)
        for path, page in site.items()
        if section.search(page)
    }
    assert left == {}


def test_equations_and_examples_of_docstrings_are_code(site):
    layers = html.unescape(
        re.sub(r"<[^>]*>", "", site["api/layers/index.html"])
    )
    assert "v(t) = beta * u(t) * (1 - s(t))                reset=" in layers
    prompt = '<code><span class="gp">&gt;&gt;&gt; </span>'
    assert prompt in site["api/layers/index.html"]


def test_pages_load_nothing_from_other_servers(site):
    # Links that a reader may follow are fine.
    loaded = re.compile(
        r'<(?:script|img|iframe)[^>]*\ssrc="?(?:https?:)?//[^>]*>'
        r'|<link[^>]*rel="?(?:stylesheet|preload|preconnect)[^>]*'
        r'href="?(?:https?:)?//[^>]*>'
    )
    assert {
        p: loaded.findall(x) for p, x in site.items() if loaded.search(x)
    } == {}


def test_home_has_the_tables_of_the_readme(site):
    home = html.unescape(re.sub(r"<[^>]*>", " ", site["index.html"]))
    assert "keras_snn, dense products" in home
    assert "SpikingCNN, 2 million weights" in home
    assert "of README.md" not in home


def test_docstrings_are_rewritten_for_the_parser():
    tools = module_of(DOCS / "build_tools/keras_docstrings.py")
    assert tools.google_style(
        "Does.\n\n    y = x\n\nArgs:\n    x: A tensor.\n\n"
        "Call arguments:\n    z: Another.\n\nInput shape:\n    `(batch,)`.\n\n"
        "Note: no section.\n\nExample:\n\n>>> f(1)\n2\n"
    ) == (
        "Does.\n\n    y = x\n\nArgs: Arguments:\n    x: A tensor.\n\n"
        "Other Parameters: Call arguments:\n    z: Another.\n\n"
        "**Input shape:**\n\n`(batch,)`.\n\n"
        "Note: no section.\n\n**Example:**\n\n\n```pycon\n>>> f(1)\n2\n```\n"
    )


@pytest.mark.parametrize("page", ["command_line.md", "networks.md"])
def test_generated_pages_are_what_the_code_says(page):
    generate = module_of(DOCS / "build_tools/generate.py")
    committed = (generate.API / page).read_text("utf-8")
    assert committed == generate.PAGES[page](), (
        "The code has changed. Run python docs/build_tools/generate.py"
    )
    assert not re.search(r"\[/?(bold|dim)\]|\x08", committed)


@pytest.fixture(scope="module")
def few_images():
    """Let `keras_snn.datasets.load` return the first images only."""
    load = keras_snn.datasets.load

    def load_few(*args, **kwargs):
        return tuple((x[IMAGES], y[IMAGES]) for x, y in load(*args, **kwargs))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keras_snn.datasets, "load", load_few)
        yield


@pytest.fixture(scope="module")
def guide(few_images, tmp_path_factory):
    """Run the guide in an empty folder; return its variables and output."""
    names = {}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", LAGGING)
        with contextlib.chdir(tmp_path_factory.mktemp("guide")):
            return names, run_blocks("guide.md", names)


@pytest.mark.slow
def test_every_block_of_the_guide_runs(guide):
    names, printed = guide
    text = (DOCS / "guide.md").read_text("utf-8")
    assert names["EPOCHS"] == 1
    assert names["model"].runs_layer_by_layer is None
    # A block that prints is followed by what it printed.
    quoted = re.findall(r"^```python\n[^`]*^```\n\n```text", text, re.MULTILINE)
    assert len(quoted) == sum(map(bool, printed)) >= 7


@pytest.mark.filterwarnings(f"ignore:{LAGGING}")
@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_every_block_of_a_page_runs_after_the_guide(guide, page, tmp_path):
    names = dict(guide[0])
    with contextlib.chdir(tmp_path):
        printed = run_blocks(page, names)
    text = (DOCS / page).read_text("utf-8")
    # What does not depend on the training is quoted, and is the same.
    for block in re.findall(r"```text\n(.*?)```", text, re.DOTALL):
        assert block in printed


def test_the_neuron_of_ones_own_runs_everywhere(tmp_path):
    names = {}
    first, *others = run_blocks("own_neuron.md", names)
    assert "through time, and `remat_steps` is not set" in first
    assert set(others) == {""}
    assert len(code_blocks("own_neuron.md")[0].splitlines()) < 50
    model, neuron = names["model"], names["Refractory"]
    x = np.random.default_rng(0).normal(0.5, 1, (4, 20, 8)).astype("float32")
    plain = names["keras"].Model(model.input, model.output)
    expected = plain.predict(x, verbose=0)
    assert np.any(expected)
    np.testing.assert_allclose(model.predict(x, verbose=0), expected, atol=1e-5)
    # Twice the threshold at every step: it fires every other time.
    spikes = neuron()(np.full((1, 6, 1), 2.0, "float32"))
    assert np.ravel(spikes).tolist() == [1, 0, 1, 0, 1, 0]
    model.compile("adam", "mse")
    (before,) = model.layers[2].get_weights()
    model.fit(x, np.ones((4, 3)), verbose=0)
    assert np.any(model.layers[2].get_weights()[0] != before)
    model.save(tmp_path / "model.keras")
    loaded = names["keras"].models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(
        loaded.predict(x, verbose=0), model.predict(x, verbose=0), atol=1e-6
    )
    # After any inhibition the potential is -1, and 2.5 is enough.
    currents = np.float32([-9, -9, 2.5]).reshape(1, 3, 1)
    assert np.ravel(names["Clipped"](1.0)(currents)).tolist() == [0, 0, 1]
    assert np.ravel(names["Peak"]()(currents)).tolist() == [2.5]


@pytest.mark.filterwarnings(f"ignore:{LAGGING}")
@pytest.mark.slow
def test_the_block_of_home_runs(few_images, tmp_path):
    with contextlib.chdir(tmp_path):
        (printed,) = run_blocks("index.md", {})
    assert "Energy of one inference" in printed
    assert (tmp_path / "digits/saved_model.pb").exists()


@pytest.mark.slow
def test_figures_are_drawn_by_the_library(tmp_path, monkeypatch):
    figures = module_of(DOCS / "figures/learning_rule.py")
    # Undone after the test, where the figures switch the engine off.
    monkeypatch.setattr(keras_snn.event_driven.switch, "_choice", None)
    cosines = figures.cosines()
    # As docs/learning_rule.md says.
    assert min(cosines[1]["collapsed"]) > 0.955
    assert min(cosines[1]["arctan"]) < 0.5
    monkeypatch.setattr(figures, "cosines", lambda: cosines)
    figures.main(tmp_path)
    committed = DOCS / "images/learning_rule"
    drawn = sorted(path.name for path in tmp_path.iterdir())
    assert drawn == sorted(path.name for path in committed.iterdir())
    for path in [*tmp_path.iterdir(), *committed.iterdir()]:
        assert 5_000 < path.stat().st_size < 60_000
    # Those that compute nothing that rounds are the same to the byte.
    name = "memory.svg"
    assert (tmp_path / name).read_bytes() == (committed / name).read_bytes()


@pytest.mark.slow
def test_the_picture_of_a_cat_is_classified(tmp_path):
    figures = module_of(DOCS / "figures/trained.py")
    assert figures.draw(tmp_path) == "cat"
    text = (DOCS / "trained.md").read_text("utf-8")
    for name in ("spikes.svg", "scores.svg"):
        assert f"](images/trained/{name})" in text
        size = (DOCS / "images/trained" / name).stat().st_size
        assert 0.5 < (tmp_path / name).stat().st_size / size < 2


@pytest.mark.slow
def test_the_gallery_is_drawn_by_the_library(tmp_path):
    gallery = module_of(DOCS / "figures/gallery.py")
    gallery.STEPS = 2  # energy at each; they take time to compile
    rng = np.random.default_rng(0)
    images = rng.random((4, 28, 28, 1)).astype("float32")
    recording = keras_snn.datasets.events.saccades(images[0])
    gallery.draw(tmp_path, images, np.eye(10)[:4], recording, 3)
    committed = DOCS / "images/gallery"
    names = sorted(path.name for path in committed.iterdir())
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    text = (DOCS / "gallery.md").read_text("utf-8")
    for name in names:
        assert f"](images/gallery/{name})" in text
        assert 5_000 < (committed / name).stat().st_size < 60_000
    # The weights are the same whatever the images; how a picture is packed
    # is not.
    packed = re.compile(r'href="data:image/png;base64,[^"]*"')
    drawn, kept = (
        packed.sub("", (folder / "kernels.svg").read_text("utf-8"))
        for folder in (tmp_path, committed)
    )
    assert drawn == kept
    assert drawn.count("<image") == 20


def test_notebooks_are_pages_with_their_pictures(site):
    notebooks = module_of(DOCS / "build_tools/notebooks.py")
    paths = sorted(notebooks.FOLDER.glob("*.ipynb"))
    assert len(paths) == 3
    for path in paths:
        text, pictures = notebooks.page(path)
        page = site[f"notebooks/{path.stem}/index.html"]
        assert pictures
        for name, content in pictures.items():
            assert content.startswith(b"\x89PNG")
            assert f"../{name}" in page
        shown = html.unescape(re.sub(r"<[^>]*>", "", page))
        printed = re.findall(r"```text\n(.*?)\n```", text, re.DOTALL)
        assert printed
        assert [x for x in printed if x not in shown] == []
        assert ".ipynb)" not in text
