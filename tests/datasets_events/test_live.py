"""A camera that runs, and a stream that has to keep up."""

import threading
import time
import warnings

import keras
import numpy as np
import pytest

import keras_snn as snn
from keras_snn.datasets import events
from tests.datasets_events import writers

SIZE = (6, 8)
WINDOW = 10_000
SECOND = 1_000_000


@pytest.fixture(scope="module")
def recording():
    rng = np.random.default_rng(0)
    return writers.random_events(rng, SIZE, 300, last=200_000)


class Recorder:
    """A stream that keeps what it takes, and may be slow."""

    def __init__(self, seconds=0.0):
        self.taken, self.seconds = [], seconds

    def step_events(self, x, y, channel):
        time.sleep(self.seconds)
        self.taken.append((x.tolist(), y.tolist(), channel.tolist()))
        return len(self.taken)


def cut(recording, places):
    """Packets of a recording, an empty one among them."""
    return [recording[:0], *np.split(recording, places)]


def steps_of(recording, window=WINDOW):
    parts = events.split_windows(recording, window)
    return [(start, *(p[n].tolist() for n in "xyp")) for start, p in parts]


@pytest.mark.parametrize("places", [[], [1, 2, 150], list(range(300))])
def test_steps_are_the_windows_however_packets_are_cut(recording, places):
    stream = Recorder()
    live = events.Live(stream, cut(recording, places), WINDOW)
    starts, answers = zip(*live)
    expected = steps_of(recording)
    assert list(starts) == [start for start, *_ in expected]
    assert stream.taken == [tuple(columns) for _, *columns in expected]
    assert list(answers) == list(range(1, len(expected) + 1))
    assert live.steps == len(expected) and live.keeps_up


def test_windows_without_events_are_steps_and_windows_may_open_earlier():
    sparse = events.as_events([1, 2], [0, 0], [17, 95], [1, 0])
    stream = Recorder()
    starts = [s for s, _ in events.Live(stream, [sparse], 20, start=0)]
    assert starts == [0, 20, 40, 60, 80]
    assert [len(x) for x, *_ in stream.taken] == [1, 0, 0, 0, 1]
    stream = Recorder()
    found = list(events.Live(stream, [sparse], 20, start=50))
    assert [s for s, _ in found] == [50, 70, 90]
    assert [x for x, *_ in stream.taken] == [[], [], [2]]


def test_one_channel_takes_both_polarities(recording):
    stream = Recorder()
    list(events.Live(stream, [recording], WINDOW, polarity_channels=1))
    assert {c for *_, channels in stream.taken for c in channels} == {0}


def small_model():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((None, *SIZE, 2))
    x = snn.layers.TimeFold(keras.layers.Flatten())(inputs)
    x = snn.layers.TimeFold(keras.layers.Dense(12, use_bias=False))(x)
    x = snn.layers.LIF(beta=0.9, threshold=0.3)(x)
    x = snn.layers.TimeFold(keras.layers.Dense(3, use_bias=False))(x)
    return snn.Model(inputs, snn.layers.MembraneReadout(beta=0.9)(x))


@pytest.mark.parametrize("runtime", [False, True])
def test_a_recorded_file_played_in_real_time_is_kept_up_with(
    recording, tmp_path, runtime
):
    np.save(tmp_path / "recording.npy", recording)
    recorded = events.read(tmp_path / "recording.npy")
    model = small_model()
    if runtime:
        if keras.config.backend() != "tensorflow":
            pytest.skip("the runtime is the same on all backends")
        stream = snn.export.runtime(model).stream()
    else:
        stream = snn.streaming(model).stream()
    camera = events.play(recorded, 5_000)
    begin = time.monotonic()
    live = events.Live(stream, camera, WINDOW, patience=30 * SECOND)
    answers = [answer for _, answer in live]
    duration = time.monotonic() - begin
    frames = events.to_frames(recorded, SIZE, window=WINDOW)
    whole = model.predict(frames[None], verbose=0)
    np.testing.assert_allclose(
        np.reshape(answers[-1], whole.shape), whole, rtol=1e-4, atol=1e-5
    )
    assert len(answers) == len(frames) == live.steps
    # In real time, and the answers no later than they are said to be.
    lasts = np.ptp(recorded["t"]) / SECOND
    assert lasts <= duration <= lasts + 30
    assert live.keeps_up and 0 < live.lateness <= live.worst_lateness
    assert live.worst_lateness / SECOND < duration


def test_a_stream_that_is_too_slow_is_told_of_and_loses_nothing(recording):
    stream = Recorder(0.01)
    live = events.Live(stream, events.play(recording), 5_000, patience=30_000)
    with pytest.warns(RuntimeWarning, match="does not keep up.*wait") as caught:
        starts = [start for start, _ in live]
    assert len(caught) == 1
    assert starts == [start for start, *_ in steps_of(recording, 5_000)]
    assert not live.keeps_up and live.dropped_windows == 0
    # 40 windows of 5 ms take 10 ms each: 200 ms behind at the end.
    assert live.lateness > 60_000


def test_late_windows_are_left_out_and_counted_if_asked_for(recording):
    stream = Recorder(0.01)
    camera = events.play(recording)
    live = events.Live(stream, camera, 5_000, when_late="drop", patience=30_000)
    with pytest.warns(RuntimeWarning, match="left out") as caught:
        starts = [start for start, _ in live]
    assert len(caught) == 1
    everything = dict(
        (start, columns) for start, *columns in steps_of(recording, 5_000)
    )
    assert live.steps == len(starts) < len(everything)
    assert live.steps + live.dropped_windows == len(everything)
    assert stream.taken == [tuple(everything[start]) for start in starts]
    taken = sum(len(x) for x, *_ in stream.taken)
    assert taken + live.dropped_events == len(recording)
    # A step began in time, and took 10 ms, or more of a busy machine.
    assert live.worst_lateness < 30 * SECOND


def test_no_window_that_is_in_time_is_left_out(recording):
    live = events.Live(
        Recorder(), [recording], WINDOW, when_late="drop", patience=30 * SECOND
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(list(live)) == len(steps_of(recording))
    assert live.keeps_up


def test_an_error_of_the_camera_comes_out_after_what_it_sent(recording):
    def camera():
        yield recording[:200]
        raise OSError("unplugged")

    stream = Recorder()
    with pytest.raises(OSError, match="unplugged"):
        list(events.Live(stream, camera(), WINDOW))
    assert len(stream.taken) == len(steps_of(recording[:200])) - 1


def test_the_thread_ends_when_nobody_listens(recording):
    before = threading.active_count()
    sent = []

    def camera():
        while True:
            late = recording.copy()
            late["t"] += len(sent) * SECOND
            sent.append(late)
            yield late
            time.sleep(0.002)

    for _ in events.Live(Recorder(), camera(), WINDOW):
        break
    patience = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < patience:
        time.sleep(0.005)
    assert threading.active_count() == before


def test_a_clock_that_goes_back_is_refused(recording):
    camera = [recording, recording]
    with pytest.raises(ValueError, match="packet 1 of the camera.*reset"):
        list(events.Live(Recorder(), camera, WINDOW))
    with pytest.raises(ValueError, match="packet 0 of the camera.*event 1"):
        list(events.packets([recording[::-1]]))
    with pytest.raises(ValueError, match="packet 0 of the camera.*fields"):
        list(events.packets([[1, 2, 3]]))


def test_packets_of_metavision_are_taken_as_they_are(recording):
    fields = [("x", "u2"), ("y", "u2"), ("p", "i2"), ("t", "i8")]
    theirs = recording[["x", "y", "p", "t"]].astype(fields)
    found = np.concatenate(list(events.packets(np.split(theirs, [70]))))
    np.testing.assert_array_equal(found, recording)


def test_a_recording_of_dv_processing_is_a_camera(recording, tmp_path):
    dv = pytest.importorskip(
        "dv_processing", reason="no dv-processing for this Python"
    )
    path = str(tmp_path / "a.aedat4")
    config = dv.io.MonoCameraWriter.EventOnlyConfig("DVXplorer", SIZE[::-1])
    writer = dv.io.MonoCameraWriter(path, config)
    for part in np.split(recording, [100, 250]):
        store = dv.EventStore()
        for x, y, t, p in part.tolist():
            store.push_back(t, x, y, bool(p))
        writer.writeEvents(store)
    del writer
    stream = Recorder()
    camera = dv.io.MonoCameraRecording(path)
    starts = [s for s, _ in events.Live(stream, camera, WINDOW)]
    expected = steps_of(recording)
    assert starts == [start for start, *_ in expected]
    assert stream.taken == [tuple(columns) for _, *columns in expected]


def test_a_recording_is_played_at_the_speed_asked_for(recording):
    begin = time.monotonic()
    parts = list(events.play(recording, 20_000, speed=4.0))
    assert 0.05 <= time.monotonic() - begin < 2
    np.testing.assert_array_equal(np.concatenate(parts), recording)
    with pytest.raises(ValueError, match="speed"):
        next(events.play(recording, speed=0))
    with pytest.raises(ValueError, match="window"):
        next(events.play(recording, 0))


def test_events_beyond_the_frame_are_refused_with_their_place(recording):
    stream = snn.streaming(small_model()).stream()
    wide = recording.copy()
    wide["x"][7] = 8
    with pytest.raises(ValueError, match="`x`.*0..7. Received: 8 in event"):
        list(events.Live(stream, [wide], SECOND))
    with pytest.raises(ValueError, match="`channel`.*Received: -1 in event 1"):
        stream.step_events([1, 2], [0, 0], [1, -1])


def test_it_is_iterated_over_once(recording):
    live = events.Live(Recorder(), [recording], WINDOW)
    list(live)
    with pytest.raises(ValueError, match="once"):
        list(live)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"stream": None}, "must have a method step_events"),
        ({"window": 0}, "`window` must be a positive integer"),
        ({"when_late": "wait"}, "`when_late` must be"),
        ({"patience": -1}, "`patience` must be"),
        ({"start": -1}, "`start` must be a time"),
        ({"polarity_channels": 3}, "`polarity_channels` must be"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    given = {"stream": Recorder(), "camera": [], "window": WINDOW, **options}
    with pytest.raises(ValueError, match=message):
        events.Live(**given)
