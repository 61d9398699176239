"""Other programs load our NIR files and fire the same spikes, and back.

The programs run in a Python of their own, that of the environment variable
KERAS_SNN_PEERS_PYTHON:

    python -m venv peers
    peers/bin/pip install --no-deps -r tests/requirements-nir-peers.txt
    KERAS_SNN_PEERS_PYTHON=peers/bin/python pytest tests/export
"""

import os
import pathlib
import subprocess

import numpy as np
import pytest

import keras_snn as snn
from tests.export import nir_networks as networks

PROGRAMS = pathlib.Path(__file__).with_name("peers")
LIBRARIES = ("snntorch", "spikingjelly", "norse", "sinabs")
# They read no file as it is meant.
ONLY_SOURCES = ("rockpool",)
TIME_STEPS = 60
# What an importer does not know, and `to_nir` refuses for it.
REFUSED = {
    ("branches", "norse"): "one step late",
    ("branches", "sinabs"): "one step late",
    ("synaptic", "sinabs"): "alpha=0.75, and sinabs' importer knows no CubaLIF",
    ("parametric", "spikingjelly"): "takes one time constant a layer",
    ("series", "snntorch"): "knows no Conv1d",
    ("series", "norse"): "knows no Conv1d",
    ("soft", "snntorch"): 'reset="subtract"',
    ("soft", "spikingjelly"): 'reset="subtract"',
    ("soft", "norse"): 'reset="subtract"',
    ("recurrent", "snntorch"): "importer fails on feedback",
    ("recurrent", "spikingjelly"): "knows no feedback",
    ("recurrent", "norse"): "knows no feedback",
    ("recurrent", "sinabs"): "knows no feedback",
}

pytestmark = pytest.mark.filterwarnings(
    "ignore:sinabs.from_nir makes neurons:UserWarning"
)


@pytest.fixture(scope="module")
def peers_python():
    python = os.environ.get("KERAS_SNN_PEERS_PYTHON")
    if not python:
        pytest.skip("KERAS_SNN_PEERS_PYTHON names no Python with the peers")
    return python


@pytest.fixture(scope="module")
def cases(peers_python):
    """Per name: a model, an input, and the spikes of its layers."""
    models = {
        "lenet": networks.on_grid(networks.lenet()),
        "resnet": networks.on_grid(networks.resnet()),
        "identity": networks.on_grid(networks.identity()),
        "branches": networks.on_grid(networks.branches()),
        "synaptic": networks.on_grid(networks.synaptic()),
        "parametric": networks.on_grid(networks.parametric()),
        "parametric_layers": networks.on_grid(networks.parametric_layers()),
        "series": networks.on_grid(networks.series()),
        "soft": networks.on_grid(networks.soft()),
        "recurrent": networks.on_grid(networks.recurrent()),
        "lenet_as_drawn": networks.as_drawn(networks.lenet()),
        "resnet_as_drawn": networks.as_drawn(networks.resnet()),
    }
    inputs = {k: networks.spikes(m, TIME_STEPS) for k, m in models.items()}
    return {
        name: (model, inputs[name], networks.trains(model, inputs[name]))
        for name, model in models.items()
    }


@pytest.fixture(scope="module", params=LIBRARIES)
def exchange(request, peers_python, cases, tmp_path_factory):
    """A library, and the folder of files it has read and written."""
    library = request.param
    folder = tmp_path_factory.mktemp(library)
    (folder / "ours").mkdir()
    for name, (model, x, _) in cases.items():
        if (name, library) in REFUSED:
            continue
        path = folder / "ours" / f"{name}.nir"
        snn.export.to_nir(model, path, target=library)
        np.save(path.with_suffix(".npy"), channels_first(x))
    run(peers_python, library, folder)
    return library, folder


def run(peers_python, library, folder):
    program = PROGRAMS / f"run_{library}.py"
    result = subprocess.run(
        [peers_python, str(program), str(folder)],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr[-3000:]


def channels_first(x):
    return np.ascontiguousarray(np.moveaxis(x, -1, 2))


def channels_last(x):
    return np.moveaxis(x, 2, -1)


def load(path):
    """Return spikes by layer, and the output, with channels last."""
    with np.load(path.with_suffix(".npz")) as arrays:
        return {name: channels_last(x) for name, x in arrays.items()}


def compare(cases, folder, name):
    """Yield `(layer, ours, theirs)`; theirs without channels passing by."""
    found = load(folder / "ours" / f"{name}.nir")
    _, _, expected = cases[name]
    assert expected.keys() <= found.keys()
    for layer, train in expected.items():
        yield layer, train, found[layer][..., : train.shape[-1]]


@pytest.mark.parametrize(
    "name",
    [
        "lenet",
        "resnet",
        "identity",
        "branches",
        "synaptic",
        "parametric",
        "parametric_layers",
        "series",
        "soft",
        "recurrent",
    ],
)
def test_their_importer_gives_our_spikes(cases, exchange, name):
    library, folder = exchange
    if (name, library) in REFUSED:
        with pytest.raises(ValueError, match=REFUSED[name, library]):
            snn.export.to_nir(cases[name][0], target=library)
        return
    for layer, ours, theirs in compare(cases, folder, name):
        np.testing.assert_array_equal(theirs, ours, err_msg=layer)
        assert ours.shape[1] == TIME_STEPS and 0.01 < ours.mean() < 0.99


@pytest.mark.parametrize("name", ["lenet_as_drawn", "resnet_as_drawn"])
def test_rounding_of_other_sums_moves_hardly_a_spike(cases, exchange, name):
    _, folder = exchange
    differ = [a != b for _, a, b in compare(cases, folder, name)]
    total = sum(x.size for x in differ)
    assert sum(x.sum() for x in differ) <= 1e-3 * total


def test_their_output_is_the_readouts_current(cases, exchange):
    _, folder = exchange
    model, x, trains = cases["lenet"]
    output = load(folder / "ours" / "lenet.nir")["output"]
    kernel = np.array(model.get_layer("predictions").get_weights()[0])
    expected = trains["fc1_lif"] @ kernel
    np.testing.assert_allclose(output, expected, atol=1e-4)
    # The readout, as docs/nir.md writes it.
    beta, steps = model.get_layer("readout").beta, x.shape[1]
    weights = beta ** np.arange(steps, 0, -1) / steps
    np.testing.assert_allclose(
        np.einsum("btc,t->bc", output, weights),
        networks.scores(model, x),
        rtol=1e-3,
        atol=1e-4,
    )


def test_their_own_files_give_their_spikes(exchange):
    compare_own(*exchange)


@pytest.mark.parametrize("library", ONLY_SOURCES)
def test_files_of_other_programs_give_their_spikes(
    library, peers_python, tmp_path
):
    run(peers_python, library, tmp_path)
    compare_own(library, tmp_path)


def compare_own(library, folder):
    paths = sorted((folder / "theirs").glob("*.nir"))
    assert paths
    for path in paths:
        model = snn.export.from_nir(path, source=library)
        trains = networks.trains(
            model, channels_last(np.load(path.with_suffix(".npy")))
        )
        found = load(path)
        found.pop("output", None)
        assert len(found) == len(trains)
        # In the order in which the neurons run.
        for (layer, ours), theirs in zip(trains.items(), found.values()):
            np.testing.assert_array_equal(ours, theirs, err_msg=layer)
            assert 0.01 < ours.mean() < 0.99
