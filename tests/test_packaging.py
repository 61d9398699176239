"""What `pip install` promises, held against the code."""

import ast
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
EXTRA = re.compile(r"(?:keras-snn|\.)\[([a-z,]+)\]")


def setup_keywords():
    """Return the keyword arguments of `setup(...)`, evaluated."""
    captured = {}
    source = (ROOT / "setup.py").read_text("utf-8")
    code = source.replace("from setuptools import find_packages, setup", "")
    names = {
        "__file__": str(ROOT / "setup.py"),
        "find_packages": lambda **keywords: [],
        "setup": lambda **keywords: captured.update(keywords),
    }
    exec(compile(code, "setup.py", "exec"), names)
    return captured


def texts_that_name_extras():
    yield "README.md", (ROOT / "README.md").read_text("utf-8")
    for path in sorted((ROOT / "keras_snn").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield str(path.relative_to(ROOT)), node.value


def test_every_extra_named_in_a_message_exists():
    extras = set(setup_keywords()["extras_require"])
    named = {
        (where, extra)
        for where, text in texts_that_name_extras()
        for group in EXTRA.findall(text)
        for extra in group.split(",")
    }
    assert {extra for _, extra in named} >= {"cli", "datasets"}
    assert [pair for pair in sorted(named) if pair[1] not in extras] == []


def test_the_test_extra_brings_what_the_tests_need():
    extras = setup_keywords()["extras_require"]
    for name in ("datasets", "cli", "tensorboard", "jax"):
        assert set(extras[name]) <= set(extras["test"])


def test_every_requirement_has_a_lower_and_an_upper_bound():
    keywords = setup_keywords()
    requirements = [
        *keywords["install_requires"],
        *(r for group in keywords["extras_require"].values() for r in group),
    ]
    pattern = re.compile(r"[a-z0-9-]+>=[\d.]+,<[\d.]+")
    assert [r for r in requirements if not pattern.fullmatch(r)] == []


def test_setup_and_the_package_state_one_version():
    source = (ROOT / "keras_snn" / "__init__.py").read_text("utf-8")
    version = re.search(r'__version__ = "(.+)"', source).group(1)
    assert version == setup_keywords()["version"]


def test_a_source_distribution_can_be_tested(tmp_path):
    source = tmp_path / "source"
    ignored = shutil.ignore_patterns(".*", "*.egg-info", "runs", "__pycache__")
    shutil.copytree(ROOT, source, ignore=ignored)
    command = [sys.executable, "setup.py", "-q", "sdist", "-d", str(tmp_path)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as files:
        names = {name.split("/", 1)[-1] for name in files.getnames()}
    for tree in ("benchmarks", "docs", "examples", "keras_snn", "tests"):
        ours = (x for x in source.glob(f"{tree}/**/*") if x.is_file())
        missing = {str(x.relative_to(source)) for x in ours} - names
        assert not missing
    assert {"CHANGELOG.md", "mkdocs.yml", "pyproject.toml"} <= names


def test_the_readme_of_a_package_index_links_to_no_file():
    shown = setup_keywords()["long_description"]
    source = (ROOT / "README.md").read_text("utf-8")
    link = re.compile(r"\]\(([^)]+)\)")
    targets = link.findall(shown)
    assert all(x.startswith(("https:", "http:", "#")) for x in targets)
    files = [x for x in link.findall(source) if x not in targets]
    assert files
    pictures = (".png", ".svg")
    for file in files:
        path = file.split("#")[0]
        assert (ROOT / path).exists()
        assert file.endswith(pictures) or f"`{file}`)" in shown
    assert "(how, and what was missed: `benchmarks/accuracy.md`)" in shown
    assert 'pip install "keras-snn[cli,datasets,numba]"' in shown
    assert '".[test]"' in shown


def test_the_command_prints_its_version():
    command = [sys.executable, "-m", "keras_snn", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    version = setup_keywords()["version"]
    assert done.stdout.strip() == f"keras-snn {version}", done.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"]])
def test_help_does_not_import_tensorflow(arguments):
    code = (
        "import sys\n"
        "sys.argv[0] = 'keras-snn'\n"
        "from keras_snn.__main__ import main\n"
        "try:\n"
        "    main()\n"
        "except SystemExit as end:\n"
        "    assert not end.code, end.code\n"
        "heavy = {'tensorflow', 'jax', 'keras'} & set(sys.modules)\n"
        "assert not heavy, f'imported for --help: {heavy}'\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert "Usage" in result.stdout
