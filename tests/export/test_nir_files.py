"""NIR files of other versions are read, or their version is said."""

import h5py
import nir
import numpy as np
import pytest

import keras_snn as snn
from tests.export import nir_networks as networks


def write(path, nodes, edges, version="0.1.0"):
    """Write a file as early versions of `nir` did, without its classes."""
    text = h5py.string_dtype()
    with h5py.File(path, "w") as file:
        if version is not None:
            file["version"] = version
        group = file.create_group("node")
        group.create_dataset("type", data="NIRGraph", dtype=text)
        group.create_dataset("edges", data=np.array(edges, dtype="S"))
        for name, values in nodes.items():
            node = group.create_group(f"nodes/{name}")
            for field, value in values.items():
                if isinstance(value, str):
                    node.create_dataset(field, data=value, dtype=text)
                else:
                    node[field] = value


def early_network():
    """Return a network of nodes with the fields of version 0.1."""
    rng = np.random.default_rng(0)
    lif = {"tau": 1e-3, "r": 10.0, "v_leak": 0.0, "v_threshold": 1.0}
    nodes = {
        "input": {"type": "Input", "shape": np.array([2, 4, 4])},
        "conv": {
            "type": "Conv2d",
            "weight": rng.normal(0.1, 0.5, (3, 2, 3, 3)).astype("float32"),
            "stride": np.array([1, 1]),
            "padding": np.array([1, 1]),
            "dilation": np.array([1, 1]),
            "groups": 1,
            "bias": np.zeros(3),
        },
        "lif": {
            "type": "LIF",
            **{k: np.full((3, 4, 4), v) for k, v in lif.items()},
        },
        "flatten": {
            "type": "Flatten",
            "start_dim": 0,
            "end_dim": -1,
            "input_type": np.array([3, 4, 4]),
        },
        "dense": {
            "type": "Linear",
            "weight": rng.normal(0.1, 0.5, (5, 48)).astype("float32"),
        },
        "output": {"type": "Output", "shape": np.array([5])},
    }
    names = list(nodes)
    return nodes, list(zip(names, names[1:]))


def test_a_file_of_an_early_version_is_read(tmp_path):
    nodes, edges = early_network()
    write(tmp_path / "early.nir", nodes, edges)
    model = snn.export.from_nir(tmp_path / "early.nir")
    fields = {k: v for k, v in nodes["conv"].items() if k != "type"}
    now = {
        "input": nir.Input({"input": np.array([2, 4, 4])}),
        "conv": nir.Conv2d(input_shape=(4, 4), **fields),
        "lif": nir.LIF(
            **{k: v for k, v in nodes["lif"].items() if k != "type"}
        ),
        "flatten": nir.Flatten({"input": np.array([3, 4, 4])}, 0, -1),
        "dense": nir.Linear(nodes["dense"]["weight"]),
        "output": nir.Output({"output": np.array([5])}),
    }
    expected = snn.export.from_nir(nir.NIRGraph(now, edges))
    x = networks.spikes(model, 10)
    scores = networks.scores(model, x)
    np.testing.assert_array_equal(scores, networks.scores(expected, x))
    assert np.any(scores)


def changed(**changes):
    nodes, edges = early_network()
    for name, fields in changes.items():
        values = {**nodes[name], **fields}
        nodes[name] = {k: v for k, v in values.items() if v is not None}
    return nodes, edges


@pytest.mark.parametrize(
    "changes, reason",
    [
        ({"lif": {"type": "ALIF"}}, "'lif' .ALIF.: there is no such node"),
        ({"lif": {"w_out": 1.0}}, "'lif' .LIF.: its `w_out` has no meaning"),
        ({"lif": {"r": None}}, "'lif' .LIF.: it has no `r`"),
        ({"conv": {"groups": None}}, "'conv' .Conv2d.: it has no `groups`"),
    ],
)
@pytest.mark.parametrize("version", ["2.3.0", None])
def test_what_this_version_does_not_know_is_said(
    changes, reason, version, tmp_path
):
    path = tmp_path / "other.nir"
    write(path, *changed(**changes), version=version)
    said = f"NIR version {version or 'unknown'}, which nir .* does not know"
    with pytest.raises(ValueError, match=f"(?s){said}.*{reason}") as error:
        snn.export.from_nir(path)
    assert "damaged" not in str(error.value)


def test_a_node_without_a_type_is_damage(tmp_path):
    path = tmp_path / "damaged.nir"
    write(path, *changed(lif={"type": None}))
    with pytest.raises(ValueError, match="or a damaged one"):
        snn.export.from_nir(path)


def test_types_that_other_versions_wrote_are_passed_by(tmp_path):
    nodes, edges = changed(lif={"input_type": 3, "output_type": 3})
    write(tmp_path / "types.nir", nodes, edges)
    assert snn.export.from_nir(tmp_path / "types.nir").count_params()
