"""A network of a file: whole sequences, and streams."""

import numpy as np

from keras_snn_runtime import files, operations, samples, streams


def load(path):
    """Return the `Network` of a file that `keras_snn.export.runtime` wrote.

    Args:
        path: The file.

    Raises:
        ValueError: If it is damaged, of another kind, or of another version.
        FileNotFoundError: If there is none.
    """
    description, arrays = files.read(path)
    return Network(arrays=arrays, **description)


class Network:
    """A spiking network that runs event by event.

    Attributes:
        name: Its name.
        time_steps: Number of steps T, or None for any.
        input_shape: Shape of a sample: of an image where there is an encoder,
            else of the frame of one step.
        output_shape: Shape of a sample's scores.
        threads: Most threads that share a batch, or up to four of them one
            sample; by default one a processor.
    """

    def __init__(self, name, time_steps, encoder, operations, divides, arrays):
        self.name, self.time_steps = name, time_steps
        self.encoder, self.divides = encoder, divides
        self.operations, self.arrays = operations, _copied(arrays)
        self.threads = samples.cores()
        self.input_shape = tuple(operations[0].shape)
        self.output_shape = tuple(operations[-1].shape)
        # What one sample takes that no thread is using.
        self._idle = []

    def __getstate__(self):
        # Copies make arrays of their own.
        return {**self.__dict__, "_idle": []}

    def predict(self, x, seed=None):
        """Return the scores of some samples, `(samples, classes)`.

        Args:
            x: Floats `(samples, *input_shape)`; without an encoder
                `(samples, time, *input_shape)`.
            seed: Integer for a Poisson encoder's noise; None for new noise.

        Raises:
            ValueError: If `x` has another shape or type.
        """
        return self._run(x, seed)[0]

    def predict_until_sure(self, x, margin, seed=None):
        """Return scores of as many steps as an answer takes, and their number.

        A sample's steps end when its largest score is `margin` above the next
        one, which is looked at after every second step; at the latest after T.
        The margin has to be found on samples that training did not see.

        Args:
            x: As in `predict`; samples go one after the other.
            margin: At least 0.
            seed: As in `predict`.

        Returns:
            Tuple: the scores for the steps taken, `(samples, classes)`; and
            integers `(samples,)`.

        Raises:
            ValueError: As `predict`, or for less than two scores a sample.
        """
        if not margin >= 0:
            raise ValueError(
                f"`margin` must be at least 0. Received: {margin}."
            )
        if len(self.output_shape) != 1 or self.output_shape[0] < 2:
            raise ValueError(
                "predict_until_sure() expects scores of two classes or more. "
                f"'{self.name}' gives {self.output_shape}."
            )
        x, time_steps, held = self._prepared(x, seed)
        scores = self._scores(len(x))
        steps = np.full(len(x), time_steps)
        for i in range(len(x)):
            state, steps[i] = self._score_one(
                x[i : i + 1], time_steps, held, margin
            )
            scores[i] = state[0]
        if self.divides:
            scores /= steps[:, None].astype("float32")
        return scores, steps

    def spike_rates(self, x, seed=None):
        """Return the mean spikes a neuron and step of each layer, in order.

        Args:
            x: As in `predict`.
            seed: As in `predict`.
        """
        return self._run(x, seed, "sums")[1]

    def stream(self):
        """Return a `Stream`: the network's state, and steps of it."""
        return Stream(self)

    def _checked(self, x, leading):
        x = np.asarray(x)
        if x.dtype.kind != "f" or x.shape[leading:] != self.input_shape:
            axes = ("samples, ", "samples, time, ")[leading - 1]
            raise ValueError(
                f"'{self.name}' takes floats ({axes}"
                f"{', '.join(map(str, self.input_shape))}). Received: "
                f"{x.dtype} of shape {x.shape}."
            )
        return np.ascontiguousarray(x, "float32")

    def _prepared(self, x, seed):
        """Return sequences, T, and the keys of those of equal steps."""
        held = {self.operations[0].key} if self._is_held() else ()
        if self.encoder is None:
            x = self._checked(x, 2)
            time_steps = self.time_steps or x.shape[1]
            if x.shape[1] != time_steps or not time_steps:
                raise ValueError(
                    f"'{self.name}' takes {time_steps or 'some'} time steps. "
                    f"Received: {x.shape[1]}."
                )
        else:
            x = encoded(
                self._checked(x, 1), self.encoder, self.time_steps, seed
            )
            time_steps = self.time_steps
        return x, time_steps, held

    def _run(self, x, seed, statistics=None):
        x, time_steps, held = self._prepared(x, seed)
        if len(x) == 1 and not statistics:
            scores, _ = self._score_one(x, time_steps, held)
            return scores / time_steps if self.divides else scores, None
        scores = self._scores(len(x))
        outputs = {(self.operations[-1].key, "state"): scores}
        neurons = [
            y for y in self.operations if isinstance(y, operations.Neurons)
        ]
        for y in neurons if statistics else ():
            for name in operations.STATISTICS["sums"]:
                counts = np.zeros((len(x), *y.shape), "float32")
                outputs[y.key, name] = counts
        samples.run(
            self.operations,
            {self.operations[0].key: x, **self.arrays},
            outputs,
            statistics,
            time_steps,
            held,
            self.threads,
        )
        rates = statistics and [
            # In float32 sums of 2^24 spikes and more would be rounded.
            float(outputs[y.key, "total"].mean(dtype="float64") / time_steps)
            for y in neurons
        ]
        return scores / time_steps if self.divides else scores, rates

    def _score_one(self, x, time_steps, held, margin=None):
        """Return the readout's state for one sample, and how many steps."""
        key = x.shape, self.threads
        # Lists do this at once, whichever threads call.
        kept = self._idle.pop() if self._idle else None
        if kept is None or kept[0] != key:
            source, readout = self.operations[0].key, self.operations[-1].key
            given, scores = np.empty_like(x), self._scores(1)
            alone = samples.Alone(
                self.operations,
                {source: given, **self.arrays},
                {(readout, "state"): scores},
                None,
                *(time_steps, held, self.threads),
            )
            kept = key, given, scores, alone
        _, given, scores, alone = kept
        given[...] = x
        taken, sure = time_steps, None
        if margin is not None:
            state = alone.states[self.operations[-1].key].ravel()

            def sure(steps):
                nonlocal taken
                second, first = np.partition(state, -2)[-2:]
                least = margin * steps if self.divides else margin
                if not first - second >= least:
                    return False
                taken = steps
                return True

        alone.run(sure)
        result = scores.copy()
        self._idle.append(kept)
        return result, taken

    def _scores(self, count):
        return np.zeros((count, *self.output_shape), "float32")

    def _is_held(self):
        return self.encoder is not None and self.encoder["name"] == "repeat"


def _copied(arrays):
    """Return copies of a dict's arrays, at lines of the cache."""
    copies = {
        k: operations.aligned(x.shape, x.dtype) for k, x in arrays.items()
    }
    for key, x in copies.items():
        x[...] = arrays[key]
    return copies


def encoded(x, encoder, time_steps, seed=None):
    """Return what an encoder makes of images, axes (samples, time, ...).

    The encoders of `keras_snn.layers`; a repeated image is there once.
    """
    name, most = encoder["name"], np.float32(encoder["max_rate"])
    if name == "repeat":
        return x[:, None]
    y = x[:, None]
    steps = np.arange(1, time_steps + 1, dtype="float32")
    steps = steps.reshape(-1, *[1] * (x.ndim - 1))
    if name == "poisson":
        noise = np.random.default_rng(seed).random(
            (len(x), time_steps, *x.shape[1:]), "float32"
        )
        spikes = noise < np.abs(y) * most
    elif name == "rate":
        r = np.minimum(np.abs(y) * most, np.float32(1))
        half = np.float32(0.5)
        spikes = np.floor(r * steps + half) - np.floor(r * (steps - 1) + half)
    else:
        size = np.minimum(np.abs(y), np.float32(1))
        late = np.floor((1 - size) * (time_steps - 1) + np.float32(0.5))
        spikes = steps == 1 + late
    spikes = spikes.astype("float32") * np.sign(y)
    return np.ascontiguousarray(np.where(np.isnan(y), y, spikes))


class Stream:
    """A network that takes one frame after the other.

    Readouts without leak are exact for 2^24 steps (4.6 hours of milliseconds);
    there is a warning then. `reset` begins anew.

    Attributes:
        network: The `Network`.
        steps: Number of frames since the last reset.
    """

    def __init__(self, network):
        self.network = network
        self._stepper = streams.Stepper(network.operations, network.arrays)
        self.reset()

    def reset(self):
        """Forget all frames."""
        self.steps = 0
        self._stepper.reset()

    def step(self, frame):
        """Take a frame; return the scores for the frames so far.

        Args:
            frame: Floats `input_shape`: for a network with an encoder, what
                the encoder would send at this step.

        Raises:
            ValueError: If it has another shape or type.
        """
        frame = np.asarray(frame)
        shape = self.network.input_shape
        if frame.dtype.kind != "f" or frame.shape != shape:
            raise ValueError(
                f"`frame` must be floats of shape {shape}. Received: "
                f"{frame.dtype} of shape {frame.shape}."
            )
        return self._advance(frame[None])

    def step_events(self, x, y, channel):
        """Take the events of a step; return the scores so far.

        Args:
            x: Integers, columns, from 0.
            y: Integers, rows, from 0.
            channel: Integers, e.g. polarities. Events of one place add up.

        Raises:
            ValueError: For events beyond the frame, lists of different
                lengths, or frames of other axes.
        """
        shape = self.network.input_shape
        frame = streams.frame_of_events(shape, x, y, channel)
        return self._advance(frame if frame is None else frame[None])

    def _advance(self, frames):
        self._stepper.step(frames)
        self.steps += 1
        streams.warn_of_steps(self.steps)
        (scores,) = self._stepper.results.values()
        scale = 1 / self.steps if self.network.divides else 1.0
        return scores[0] * np.float32(scale)
