"""Images and videos as an event camera would see them."""

import gzip
import pathlib
import zipfile

import numpy as np
import pytest

import keras_snn as snn
from keras_snn.datasets import events
from keras_snn.datasets.events import simulation
from tests.helpers import SHARED

DATA = SHARED / "data"


def slow(frames, times, thresholds, offset):
    """Return (t, x, y, p) of one pixel after the other, one event a turn."""
    found = []
    levels = np.log(frames + offset)
    for y in range(frames.shape[1]):
        for x in range(frames.shape[2]):
            remembered = levels[0, y, x]
            for k in range(1, len(frames)):
                now, before = levels[k, y, x], levels[k - 1, y, x]
                while True:
                    up = now > remembered
                    step = thresholds if up else -thresholds
                    if abs(now - remembered) < thresholds - 1e-9:
                        break
                    remembered += step
                    share = (remembered - before) / (now - before)
                    t = times[k - 1] + share * (times[k] - times[k - 1])
                    found.append((int(t), x, y, int(up)))
    return sorted(found)


def test_events_are_those_of_a_plain_loop():
    rng = np.random.default_rng(0)
    frames = rng.random((6, 4, 5))
    times = np.cumsum(rng.integers(500, 3000, 6))
    found = events.simulate(
        frames, times, threshold=0.37, threshold_spread=0.0, offset=0.2
    )
    expected = slow(frames, times, 0.37, 0.2)
    assert len(found) > 30
    assert sorted(zip(*(found[f].tolist() for f in "txyp"))) == expected
    assert np.all(np.diff(found["t"]) >= 0)
    assert found.dtype == events.EVENT_DTYPE


def test_a_steady_rise_sends_events_at_equal_times():
    # log(I + 0.1) rises by 1 in 10 ms: five thresholds of 0.2.
    frames = 0.1 * np.exp([0.0, 1.0])[:, None, None] - 0.1
    found = events.simulate(frames, [0, 10_000], threshold_spread=0.0)
    np.testing.assert_allclose(found["t"], [2000, 4000, 6000, 8000, 1e4], 1e-3)
    assert found["p"].tolist() == [1] * 5
    back = events.simulate(frames[::-1], [0, 10_000], threshold_spread=0.0)
    assert back["p"].tolist() == [0] * 5


def test_nothing_that_stays_sends_anything_but_noise():
    frames = np.random.default_rng(1).random((1, 30, 40)).repeat(3, axis=0)
    times = [0, 1_000_000, 2_000_000]
    assert len(events.simulate(frames, times)) == 0
    noise = events.simulate(frames, times, noise_rate=5.0, seed=2)
    expected = 5.0 * 2 * 30 * 40
    assert abs(len(noise) - expected) < 5 * expected**0.5
    assert abs(noise["p"].mean() - 0.5) < 0.03


def test_thresholds_differ_from_pixel_to_pixel_and_stay():
    frames = np.stack([np.zeros((20, 20)), np.ones((20, 20))] * 3)
    times = np.arange(6) * 1000
    found = events.simulate(frames, times, threshold_spread=0.05, seed=3)
    counts = events.to_frames(found, (20, 20), window=1000, start=0)
    assert len(np.unique(counts[0, ..., 1])) > 3
    np.testing.assert_allclose(counts[2, ..., 1], counts[4, ..., 1], atol=2)
    same = events.simulate(frames, times, threshold_spread=0.05, seed=3)
    np.testing.assert_array_equal(found, same)


def test_off_and_on_may_have_thresholds_of_their_own():
    frames = 0.1 * np.exp([0.0, 1.0, 0.0])[:, None, None] - 0.1
    found = events.simulate(
        frames, [0, 10_000, 20_000], threshold=(0.5, 0.25), threshold_spread=0
    )
    assert found["p"].tolist() == [1, 1, 1, 1, 0, 0]
    times = [2500, 5000, 7500, 1e4, 15_000, 2e4]
    np.testing.assert_allclose(found["t"], times, 1e-3)


def test_a_leak_sends_on_events_at_its_rate():
    frames = np.full((3, 2, 2), 0.4)
    times = [0, 700_000, 2_000_000]
    found = events.simulate(frames, times, leak_rate=5.0, threshold_spread=0.05)
    assert set(found["p"]) == {1}
    # 5 a second and pixel, whatever its threshold: every 200 ms.
    for x, y in np.ndindex(2, 2):
        of_pixel = found[(found["x"] == x) & (found["y"] == y)]["t"]
        np.testing.assert_allclose(of_pixel, 200_000 * np.arange(1, 11), 1e-4)


def test_a_filter_of_first_order_is_slower_in_the_dark():
    # A step to I: log is reached but for exp(-2 pi f (255 I + 20) / 275 t).
    cutoff, offset = 20.0, 0.1
    times = np.arange(0, 40_001, 500)
    for bright in (0.1, 1.0):
        frames = np.full((len(times), 1, 1), bright)
        frames[0] = 0
        found = events.simulate(
            frames, times, threshold=0.05, threshold_spread=0, cutoff=cutoff
        )
        height = np.log((bright + offset) / offset)
        rate = 2 * np.pi * cutoff * (255 * bright + 20) / 275
        reached = 0.05 * np.arange(1, len(found) + 1)
        expected = -np.log(1 - reached / height) / rate * 1e6
        assert len(found) > 5 and np.all(found["p"] == 1)
        # Between frames it is a line.
        np.testing.assert_allclose(found["t"], expected, atol=60)


def test_a_pixel_is_dead_for_a_while_after_an_event():
    rng = np.random.default_rng(5)
    frames = rng.random((30, 3, 4))
    times = np.arange(30) * 1000
    every = events.simulate(frames, times, noise_rate=50.0)
    found = events.simulate(frames, times, noise_rate=50.0, refractory=700)
    last, expected = {}, []
    for event in every.tolist():
        x, y, t, _ = event
        if t - last.get((x, y), -np.inf) >= 700:
            last[x, y] = t
            expected.append(event)
    assert found.tolist() == expected
    assert 100 < len(expected) < len(every)


@pytest.mark.parametrize("name", events.SIMULATORS)
def test_published_settings_are_taken(name):
    image = np.random.default_rng(6).random((12, 12))
    found = events.saccades(image, (16, 16), **events.SIMULATORS[name])
    assert len(found) > 100 and np.all(np.diff(found["t"]) >= 0)


@pytest.mark.parametrize("inverted", [False, True])
def test_saccades_move_down_and_right_up_and_right_and_back(inverted):
    image = np.zeros((28, 28))
    image[10:18, 10:18] = 1.0
    found = events.saccades(
        image, (40, 40), amplitude=12.0, inverted=inverted, offset=1.0
    )
    frames = events.to_frames(found, (40, 40), window=100_000, time_steps=3)
    # Where it becomes brighter is in front, where darker is behind.
    ahead = []
    for frame in frames:
        y, x = np.indices((40, 40))
        centres = [
            ((frame[..., p] * x).sum(), (frame[..., p] * y).sum())
            / frame[..., p].sum()
            for p in (0, 1)
        ]
        way = (centres[1] - centres[0]) * (-1 if inverted else 1)
        ahead.append(np.sign(np.where(np.abs(way) > 1, way, 0)).tolist())
    assert ahead == [[1, 1], [1, -1], [-1, 0]]
    assert found["t"].max() < 300_000


def test_blur_spreads_a_point_and_keeps_its_light():
    image = np.zeros((9, 9))
    image[4, 4] = 1.0
    sharp, blurred = (
        simulation._blurred(image, deviation) for deviation in (0, 0.65)
    )
    assert np.array_equal(sharp, image)
    y, x = np.indices(blurred.shape) - len(blurred) // 2
    np.testing.assert_allclose(blurred.sum(), 1)
    # Sampled at pixels, a Gaussian so narrow has its own variance nearly.
    np.testing.assert_allclose((blurred * y**2).sum(), 0.65**2, rtol=0.02)
    np.testing.assert_allclose((blurred * x**2).sum(), 0.65**2, rtol=0.02)


def test_digits_give_the_events_of_their_recordings(tmp_path):
    if not (DATA / "nmnist").is_dir():
        pytest.skip(f"no N-MNIST files in {DATA}")
    with gzip.open(DATA / "mnist/train-images-idx3-ubyte.gz") as file:
        digits = np.frombuffer(file.read(16 + 1000 * 784)[16:], "uint8")
    digits = digits.reshape(-1, 28, 28)
    camera = events.SIMULATORS["n-mnist"]
    real, made = [], []
    with zipfile.ZipFile(DATA / "nmnist" / "nmnist_small.zip") as archive:
        for name in archive.namelist()[:1000:100]:
            number = int(pathlib.PurePath(name).stem) - 1
            path = archive.extract(name, tmp_path)
            real.append(events.read_nmnist(path))
            made.append(events.saccades(digits[number], **camera, seed=number))
    real, made = (
        np.stack(
            [
                events.to_frames(
                    one, (34, 34), window=20_000, time_steps=15, start=0
                )
                for one in several
            ]
        )
        for several in (real, made)
    )
    assert np.corrcoef(real.ravel(), made.ravel())[0, 1] > 0.8
    assert 0.85 < made.sum() / real.sum() < 1.2


def test_saccades_take_what_data_sets_hold():
    (x, _), _ = snn.datasets.load("digits")
    found = events.saccades(x[0], (12, 12))
    assert len(found) and found["x"].max() < 12
    pixels = (x[0, ..., 0] * 255).astype("uint8")
    again = events.saccades(pixels, (12, 12))
    assert abs(len(again) - len(found)) < 0.05 * len(found)
    # An image larger than the sensor is cut off at its border.
    cut = events.saccades(np.ones((20, 20)), (12, 12))
    assert cut.dtype == events.EVENT_DTYPE


VIDEO = np.zeros((2, 3, 3))


@pytest.mark.parametrize(
    "frames, times, options, message",
    [
        (VIDEO[0], [0, 1], {}, "must be .frames, height, width."),
        (VIDEO[:1], [0], {}, "two or more"),
        (VIDEO + 2, [0, 1], {}, r"floats in \[0, 1\], or uint8"),
        (VIDEO * np.nan, [0, 1], {}, "floats in"),
        (VIDEO, [0, 0], {}, "rising numbers"),
        (VIDEO, [0, 1, 2], {}, "must be 2 rising"),
        (VIDEO, [-5, 1], {}, "not be negative"),
        (VIDEO, [0, 1], {"threshold": 0}, "threshold"),
        (VIDEO, [0, 1], {"threshold_spread": -1}, "threshold_spread"),
        (VIDEO, [0, 1], {"offset": 0}, "offset"),
        (VIDEO, [0, 1], {"noise_rate": -1}, "noise_rate"),
        (VIDEO, [0, 1], {"leak_rate": -1}, "leak_rate"),
        (VIDEO, [0, 1], {"cutoff": 0}, "cutoff"),
        (VIDEO, [0, 1], {"refractory": -1}, "refractory"),
        (VIDEO, [0, 1], {"threshold": (0.2, 0)}, "threshold"),
        (VIDEO, [0, 1], {"threshold": [0.2, 0.2, 0.2]}, "threshold"),
        (VIDEO, [0, 1], {"seed": "a"}, "seed"),
    ],
)
def test_bad_videos_are_refused(frames, times, options, message):
    with pytest.raises(ValueError, match=message):
        events.simulate(frames, times, **options)


@pytest.mark.parametrize(
    "image, options, message",
    [
        (np.zeros((3, 3, 3)), {}, "must be grey"),
        (np.full((3, 3), 7.0), {}, "floats in"),
        (np.zeros((3, 3)), {"amplitude": 0}, "amplitude"),
        (np.zeros((3, 3)), {"duration": 0}, "duration"),
        (np.zeros((3, 3)), {"blur": -1}, "blur"),
        (np.zeros((3, 3)), {"inverted": 2}, "inverted"),
        (np.zeros((3, 3)), {"sensor_size": (3, 0)}, "sensor_size"),
    ],
)
def test_bad_images_are_refused(image, options, message):
    with pytest.raises(ValueError, match=message):
        events.saccades(image, **options)


@pytest.mark.parametrize("dtype", ["uint32", "int64", "float64"])
def test_times_that_fall_are_refused_in_any_type(dtype):
    times = np.array([0, 2000, 1000], dtype)
    with pytest.raises(ValueError, match="3 rising numbers"):
        events.simulate(np.zeros((3, 2, 2)), times)
