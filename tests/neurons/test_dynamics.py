import numpy as np
import pytest

from keras_snn import neurons


def test_a_trace_worked_by_hand():
    v, spikes, potentials = np.zeros(1, "float32"), [], []
    for current in (0.6, 0.6, 0.0, 1.5):
        s, v = neurons.lif_step(v, np.float32([current]), beta=0.5)
        spikes.append(float(s[0]))
        potentials.append(float(v[0]))
    # u = 0.6, 0.3 + 0.6, 0.45, 0.225 + 1.5
    assert spikes == [0, 0, 0, 1]
    np.testing.assert_allclose(potentials, [0.3, 0.45, 0.225, 0.0], rtol=1e-6)


def test_the_threshold_is_strict():
    at, above = np.float32([1.0]), np.nextafter(np.float32([1.0]), 2)
    assert float(neurons.fire(at, 1.0)[0]) == 0.0
    assert float(neurons.fire(above, 1.0)[0]) == 1.0


def test_subtract_reset_keeps_the_residual_and_leaks_it():
    s, v = neurons.lif_step(
        np.zeros(1, "float32"), np.float32([1.5]), beta=0.5, reset="subtract"
    )
    assert float(s[0]) == 1.0
    assert float(v[0]) == pytest.approx(0.25)


def test_if_is_lif_without_leak():
    v, current = np.float32([0.3]), np.float32([0.4])
    for a, b in zip(
        neurons.if_step(v, current), neurons.lif_step(v, current, beta=1.0)
    ):
        np.testing.assert_array_equal(a, b)
    assert float(neurons.if_step(v, current)[1][0]) == pytest.approx(0.7)


NAN = float("nan")


@pytest.mark.parametrize(
    "mistake, message",
    [
        (lambda v: neurons.lif_step(v, v, reset="x"), '`reset` must be "zero"'),
        (lambda v: neurons.lif_step(v, v, beta=NAN), "`beta` must lie in"),
        (lambda v: neurons.lif_step(v, v, beta=-5), r"`beta` must .*Rec.*-5.0"),
        (lambda v: neurons.lif_step(v, v, beta=None), "`beta` must be a real"),
        (lambda v: neurons.lif_step(None, v), "`membrane_potential` must be a"),
        (lambda v: neurons.if_step(v, v, threshold=0), "`threshold` must be p"),
        (lambda v: neurons.if_step(v, v, reset=None), "`reset` must be"),
        (lambda v: neurons.fire(None), "must be a floating point tensor.*None"),
        (lambda v: neurons.fire(v, "1"), "`threshold` must be a real number"),
        (lambda v: neurons.fire(np.zeros(2, int)), "point tensor.*of int64"),
        (lambda v: neurons.reset_and_leak(v, v, 1.1), "`beta` must lie in"),
    ],
)
def test_mistakes_are_explained(mistake, message):
    with pytest.raises(ValueError, match=message):
        mistake(np.zeros(1, "float32"))


def test_constants_may_be_tensors():
    v, current = np.zeros(2, "float32"), np.float32([0.5, 0.5])
    spikes, v = neurons.lif_step(
        v, current, np.float32([0.5, 0.1]), np.float32([0.4, 1.0])
    )
    np.testing.assert_array_equal(spikes, [1.0, 0.0])
    np.testing.assert_allclose(v, [0.0, 0.05])
