"""Plots draw into the axes they are given, and what was recorded."""

import subprocess
import sys

import keras
import numpy as np
import pytest

import keras_snn as snn
from keras_snn.analysis import plots
from tests.analysis.networks import images, lenet

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("agg")


@pytest.fixture
def ax():
    from matplotlib import pyplot

    figure, ax = pyplot.subplots()
    yield ax
    figure.canvas.draw()
    pyplot.close("all")


@pytest.fixture(scope="module")
def recording():
    return snn.analysis.record(lenet(), images())


@pytest.fixture(scope="module")
def profile():
    return snn.analysis.profile(lenet(), images())


def test_raster(recording, ax):
    assert plots.raster(recording, "fc1_lif", 1, ax=ax) is ax
    drawn = np.mean(ax.collections[0].get_segments(), axis=1)
    steps, neurons = np.nonzero(recording.spikes["fc1_lif"][1])
    np.testing.assert_allclose(drawn, np.stack([steps + 1, neurons], 1))


def test_raster_of_some_neurons(recording, ax):
    plots.raster(recording, "encoder", neurons=[3, 1], ax=ax)
    drawn = np.mean(ax.collections[0].get_segments(), axis=1)
    assert set(np.round(drawn[:, 1])) == {1, 3}


def test_marks_of_a_raster_of_many_neurons_can_be_seen(ax):
    spikes = {"many": np.ones((1, 3, 1000)), "few": np.ones((1, 3, 10))}
    recording = snn.analysis.Recording(spikes, {}, {}, {})
    for layer, rows, height in (("many", 200, 2.0), ("few", 10, 0.8)):
        ax.clear()
        neurons = None if layer == "few" else np.arange(rows)
        plots.raster(recording, layer, neurons=neurons, ax=ax)
        segments = np.array(ax.collections[0].get_segments())
        np.testing.assert_allclose(np.ptp(segments[..., 1], axis=1), height)
        # At least a hundredth of the picture, and rows apart if few.
        assert height >= rows / 100


def test_membrane(recording, ax):
    assert plots.membrane(recording, "fc1_lif", 2, [4], ax=ax) is ax
    trace, dots, threshold = ax.lines
    u = recording.potentials["fc1_lif"][2, :, 4]
    np.testing.assert_array_equal(trace.get_ydata(), u)
    np.testing.assert_array_equal(dots.get_ydata(), u[u > 1])
    assert set(threshold.get_ydata()) == {1.0}


def test_rate_bars(recording, ax):
    assert plots.rate_bars(recording, ax=ax) is ax
    widths = [bar.get_width() for bar in ax.patches]
    assert widths == list(recording.rates().values())
    assert plots.rate_bars({"a": 0.5}) is not ax


def test_latency(ax):
    curve = snn.analysis.LatencyCurve(np.array([0.2, 0.9]), np.zeros(2), 4)
    assert curve.plot(ax=ax) is ax
    np.testing.assert_array_equal(ax.lines[0].get_xydata(), [[1, 20], [2, 90]])


def test_energy_bars(profile, ax):
    assert profile.plot("loihi", ax=ax) is ax
    total = sum(bar.get_width() for bar in ax.patches)
    assert ax.get_xlabel().endswith(", nJ")
    assert 1e3 * total == pytest.approx(profile.energy("loihi").snn)
    assert profile.plot() is not ax


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("conv",), "`layer` must be one whose spikes were recorded: encoder"),
        (("fc1_lif", 5), "`sample` must be below 5"),
        (("fc1_lif", 0, [20]), r"`neurons` must lie in 0\.\.19"),
        (("fc1_lif", 0, []), r"`neurons` must lie in 0\.\.19, at least one"),
    ],
)
def test_bad_arguments(recording, arguments, message):
    with pytest.raises(ValueError, match=message):
        plots.raster(recording, *arguments)


def test_energy_bars_of_a_device_that_cannot_run_the_network():
    profile = snn.analysis.profile(lenet("repeat"), images())
    with pytest.raises(ValueError, match="has no MACs.*45nm-float32"):
        profile.plot("loihi")


WITHOUT_EXTRAS = """
import sys


class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("pandas", "matplotlib"):
            raise ImportError(f"this machine has no {name}")


sys.meta_path.insert(0, Missing())
import keras_snn as snn

assert not {"pandas", "matplotlib"} & set(sys.modules)
profile = snn.analysis.Profile("m", 1, 1.0, 0, [])
for function, extra in ((profile.to_dataframe, "analysis"), (
    lambda: snn.analysis.plots.rate_bars({"a": 1.0}), "plot"
)):
    try:
        function()
    except ImportError as error:
        assert f"keras-snn[{extra}]" in str(error), error
    else:
        raise AssertionError(extra)
"""


def test_pandas_and_matplotlib_are_named_where_they_are_missing():
    result = subprocess.run(
        [sys.executable, "-c", WITHOUT_EXTRAS], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr[-2000:]


def test_energy_bars_of_a_shared_layer_add_up():
    inputs, layers = keras.Input((6,)), snn.layers
    dense = layers.TimeFold(keras.layers.Dense(6, use_bias=False), name="fc")
    x = layers.LIF(threshold=0.1)(dense(layers.RepeatEncoder(4)(inputs)))
    x = layers.LIF(threshold=0.1)(dense(x))
    model = snn.Model(inputs, layers.MembraneReadout()(x))
    found = snn.analysis.profile(model, np.ones((4, 6), "float32"))
    widths = [bar.get_width() for bar in found.plot().patches]
    assert sum(widths) == pytest.approx(found.energy().snn)
