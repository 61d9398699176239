"""The public names say which types they take and return."""

import importlib
import inspect
import pathlib
import subprocess
import sys

import pytest

import keras_snn as snn
from keras_snn.models.builder import Builder, Defaults

ROOT = pathlib.Path(__file__).parents[1]


def public_functions():
    """Return all functions and own methods of the public names, by name."""
    found = {}
    for part in (*snn._MODULES, "datasets.events", "study"):
        module = importlib.import_module(f"keras_snn.{part}")
        for name in getattr(module, "__all__", ()):
            found.update(functions_of(f"{part}.{name}", getattr(module, name)))
    for name in snn._FROM_MODELS:
        found.update(functions_of(name, getattr(snn, name)))
    return found


def functions_of(name, value):
    if inspect.isclass(value):
        for method, code in vars(value).items():
            if method == "__init__" or not method.startswith("_"):
                yield from functions_of(f"{name}.{method}", code)
        return
    if isinstance(value, property):
        value = value.fget
    if isinstance(value, (classmethod, staticmethod)):
        value = value.__func__
    value = inspect.unwrap(value) if callable(value) else None
    if inspect.isfunction(value) and value.__name__ != "<lambda>":
        if value.__module__.startswith("keras_snn"):
            yield name, value


FUNCTIONS = public_functions()


def test_there_are_many():
    assert len(FUNCTIONS) > 250
    assert "layers.LIF.__init__" in FUNCTIONS and "models.VGG9" in FUNCTIONS


@pytest.mark.parametrize("name", FUNCTIONS)
def test_arguments_and_result_have_types(name):
    signature = inspect.signature(FUNCTIONS[name])
    bare = [
        x.name
        for x in signature.parameters.values()
        if x.annotation is x.empty and x.name not in ("self", "cls")
    ]
    assert not bare
    assert signature.return_annotation is not signature.empty


BUILDERS = [
    name
    for name in snn.models.__all__
    if isinstance(
        getattr(getattr(snn.models, name), "defaults", None), Defaults
    )
]


def test_builders_are_found():
    assert len(BUILDERS) >= 12 and "LeNet" in BUILDERS


@pytest.mark.parametrize("name", BUILDERS)
def test_builders_are_what_type_checkers_are_told(name):
    told = inspect.signature(Builder.__call__)
    _, *arguments = told.parameters.values()
    assert inspect.signature(getattr(snn.models, name)) == told.replace(
        parameters=arguments
    )


RIGHT = """
import numpy as np
import keras_snn as snn
import keras_snn.__main__

layer = snn.layers.LIF(beta=0.5, reset="subtract", learning_rule="rate")
snn.layers.LIF(beta=np.ones(3), learning_rule=snn.surrogates.Arctan())
model: snn.Model = snn.models.VGG9(time_steps=4, norm="batch")
trained = snn.models.LeNet(weights="mnist").runs_layer_by_layer
model.compile(loss=snn.losses.CrossEntropy(label_smoothing=0.1))
rates: dict[str, float] = snn.models.scale_to_rate(model, np.ones((1, 32)))
reason: str | None = model.runs_layer_by_layer
step = snn.streaming(model)
snn.export.saved_model(model, "folder")
(x, y), test = snn.datasets.load("digits")
settings = snn.training.recipe("lenet", "digits", epochs=1)
"""
WRONG = (
    'snn.layers.LIF(reset="none")',
    "snn.layers.LIF(threshold=None)",
    "snn.export.runtime(model, 3)",
    "snn.models.scale_to_rate(model)",
    'snn.losses.CrossEntropy(label_smoothing="0.1")',
    "snn.models.VGG9(time_step=4)",
    'snn.models.ResNet19(norm="layer")',
    "name: int = snn.models.LeNet().runs_layer_by_layer",
    "snn.no_such_name",
)


@pytest.mark.slow
def test_a_type_checker_knows_them(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(RIGHT + "\n".join(WRONG) + "\n")
    command = [sys.executable, "-m", "mypy", "--cache-dir", str(tmp_path)]
    command += ["--config-file", str(ROOT / "pyproject.toml"), str(program)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    lines = [x for x in done.stdout.splitlines() if ": error:" in x]
    first = RIGHT.count("\n") + 1
    found = [int(line.split(":")[1]) for line in lines]
    assert found == list(range(first, first + len(WRONG))), done.stdout
