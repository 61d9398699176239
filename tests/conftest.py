"""Settings of all tests; they have to stand before TensorFlow's import."""

import os
import pathlib

import pytest

# oneDNN sums a convolution in another order for another batch size, which
# moves potentials by a rounding error and now and then a spike across the
# threshold. Tests of equality want one order.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


# Files of tests that take longest, first: dealt late, one of them would keep
# one process busy after the others have ended.
LONGEST = [
    "training/test_distribution.py",
    "export/test_table.py",
    "models/test_spiking_model.py",
    "test_examples.py",
    "network/test_generated.py",
    "models/test_golden.py",
    "export/test_nir_peers.py",
    "callbacks/test_spike_rate_monitor.py",
    "test_cli.py",
    "event_driven/test_engine.py",
    "test_conformance.py",
    "test_docs.py",
    "test_readme.py",
    "test_benchmarks.py",
    "test_datasets.py",
    "test_fuzz.py",
    "models/test_backends.py",
    "network/test_own_neuron.py",
    "training/test_averages.py",
    "training/test_beginning.py",
    "network/test_kinds.py",
    "layers/test_masks.py",
    "test_notebooks.py",
]
FOLDER = pathlib.Path(__file__).parent
RANKS = {FOLDER / name: rank for rank, name in enumerate(LONGEST)}

ENGINES = ["dense"]
if os.environ.get("KERAS_BACKEND", "tensorflow") == "tensorflow":
    ENGINES.append("event_driven")


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: RANKS.get(item.path, len(RANKS)))


@pytest.fixture(params=ENGINES)
def engine(request, monkeypatch):
    """Run a test with dense products, then event by event."""
    from keras_snn.event_driven import switch

    monkeypatch.setattr(switch, "_choice", request.param == "event_driven")
    return request.param


@pytest.fixture
def mixed_bfloat16():
    """Make layers compute in bfloat16, with float32 weights."""
    from keras_snn.training.building import policy

    with policy("mixed_bfloat16"):
        yield
