"""Spike rates of every layer during training, in logs and in TensorBoard."""

from __future__ import annotations

import os
import warnings
from typing import Any

import keras
import numpy as np

from keras_snn import checks
from keras_snn.callbacks import summaries
from keras_snn.callbacks.probe import Probe
from keras_snn.running import processes
from keras_snn.typing import Path

# Of a layer's neurons, the fraction from which on the layer counts as broken.
MOSTLY = {"silent": 0.95, "saturated": 0.5}
MEANS = {
    "silent": "Silent neurons never fired on `x`; they pass on nothing.",
    "saturated": (
        "Saturated neurons fire at nearly every step, whatever the input."
    ),
}


class SpikeRateMonitor(keras.callbacks.Callback):
    """Watches how often the neurons of each spiking layer fire.

    After every epoch all samples of `x` run through the network. With S
    samples and T time steps, neuron n of a layer `LIF` or `IF` has the rate

        r(n) = sum over samples and t of s(n, t) / (S * T)

    in spikes a step, from 0 to 1, and the layer

        spike rate          mean over n of r(n)
        silent fraction     share of neurons with r(n) = 0
        saturated fraction  share of neurons with r(n) > saturated_above

    These go into the epoch's `logs` as `<layer>_spike_rate`,
    `<layer>_silent` and `<layer>_saturated`. So `History` and the progress
    bar have them, and callbacks further down the list: `EarlyStopping`,
    `CSVLogger`. For TensorBoard they are written to the run `spikes`:

    - scalars `spike_rate/<layer>`, `silent/<layer>`, `saturated/<layer>`,
    - histograms `neuron_rates/<layer>` of r(n),
    - on request images `raster/<layer>`: the spikes of up to 100 neurons,

    each at step `epoch`. Measurements between the epochs' ends have the
    prefix `batch_`, no images, and as step the batches so far in this `fit`.

    `keras.callbacks.TensorBoard` may stand before or after the monitor. If
    after, it sees the scalars in `logs` and writes them once more, as
    `epoch_<layer>_spike_rate` and so on, to its run `train`; before keeps
    TensorBoard's pages shorter.

    A `UserWarning` with advice names each layer once of whose neurons 95 %
    or more are silent, or 50 % or more saturated. It comes before the first
    epoch where the network starts like that, and its batch normalizations, if
    any, have averages.

    Of several processes each measures the same, of all of `x`, and the first
    one writes and warns.

    Training does not notice: random seeds are put back after each
    measurement. Works with `jit_compile`, under `tf.distribute`, and on JAX,
    where files are written even without TensorFlow.

    Args:
        x: NumPy array of samples, `(samples, ...)`, some dozens; for a model
            with several inputs a list or dict of arrays.
        log_dir: Folder of TensorBoard's logs; the run is its subfolder
            `spikes`. None (default) takes the folder of the
            `keras.callbacks.TensorBoard` in the same `fit` of a
            `keras_snn.Model`; if there is none, nothing is written. A plain
            `keras.Model` does not tell, there the folder must be given. Needs
            `pip install "keras-snn[tensorboard]"`.
        every_n_batches: Also measure after every so many batches, for
            TensorBoard and the warnings. None (default): not.
        histograms: Whether to write histograms. Defaults to True.
        rasters: Number of samples, the first of `x`, to draw rasters of after
            every epoch. Defaults to 0. Needs `pip install "keras-snn[plot]"`.
        batch_size: Samples of `x` run at once. Defaults to 64.
        saturated_above: Rate in (0, 1) above which a neuron is saturated.
            Defaults to 0.9.
        warn: Whether to warn. Defaults to True.

    Raises:
        ValueError: For arguments out of range. In `fit`, if the model is not
            functional or has no spiking layer, if `x` does not fit it, or if
            batches or rasters are asked for and there is no folder to write
            to.
        ImportError: If `log_dir` or `rasters` is given and the package it
            needs is missing.

    Example:

    >>> monitor = keras_snn.callbacks.SpikeRateMonitor(x_test[:64])
    >>> tensorboard = keras.callbacks.TensorBoard("logs")
    >>> model.fit(x_train, y_train, callbacks=[monitor, tensorboard])
    """

    def __init__(
        self,
        x: Any,
        log_dir: Path | None = None,
        every_n_batches: int | None = None,
        histograms: bool = True,
        rasters: int = 0,
        batch_size: int = 64,
        saturated_above: float = 0.9,
        warn: bool = True,
    ) -> None:
        super().__init__()
        self.x = checks.samples(x, "SpikeRateMonitor")
        self.log_dir = None if log_dir is None else os.fspath(log_dir)
        self.every_n_batches = every_n_batches
        if every_n_batches is not None:
            self.every_n_batches = _integer(
                "every_n_batches", every_n_batches, 1
            )
            # Keras runs ahead of callbacks as long as none of them listens to
            # batches, so this one listens only when it has to.
            self.on_train_batch_end = self._on_batch_end
        self.histograms = checks.flag("histograms", histograms)
        self.rasters = _integer("rasters", rasters, 0)
        self.batch_size = _integer("batch_size", batch_size, 1)
        self.saturated_above = checks.number(
            "saturated_above",
            saturated_above,
            "(0, 1)",
            "in spikes a neuron and step",
            of="SpikeRateMonitor",
        )
        self.warn = checks.flag("warn", warn)
        if self.rasters > len(keras.tree.flatten(self.x)[0]):
            raise ValueError(
                "`rasters` must be at most the number of samples in `x`. "
                f"Received: rasters={rasters}."
            )
        if self.log_dir is not None:
            summaries.require_tensorboard()
        if self.rasters:
            summaries.require_matplotlib()
        self._file = None
        self._probe = None
        self._warned = set()
        self._batches = self._batches_before = 0

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._batches = self._batches_before = 0
        self._open(self.log_dir or summaries.log_dir_of_fit(self.model))
        # A Sequential may be built by its first batch.
        if self.model.built or not isinstance(self.model, keras.Sequential):
            probe = self._probe_of_model()
            if self.warn and probe.knows_statistics():
                self._warn(self._measure())

    def on_epoch_end(
        self, epoch: int, logs: dict[str, Any] | None = None
    ) -> None:
        self._batches_before = self._batches
        measured = self._measure()
        if logs is not None:
            for kind in ("spike_rate", "silent", "saturated"):
                for name, values in measured.items():
                    logs[f"{name}_{kind}"] = values[kind]
        self._write(measured, epoch)
        self._draw(epoch)
        self._warn(measured)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self._close()

    def _on_batch_end(self, batch, logs=None):
        n, before = self.every_n_batches, self._batches
        self._batches = self._batches_before + batch + 1
        # With `steps_per_execution` batches come several at a time.
        if self._batches // n > before // n:
            measured = self._measure()
            self._write(measured, self._batches, prefix="batch_")
            self._warn(measured)

    def _measure(self):
        """Return each layer's rates by neuron and what sums them up."""
        measured = {}
        rates = self._probe_of_model().rates(self.x, self.batch_size)
        for name, r in rates.items():
            measured[name] = {
                "rates": r,
                "spike_rate": float(np.mean(r)),
                "silent": float(np.mean(r == 0)),
                "saturated": float(np.mean(r > self.saturated_above)),
            }
        return measured

    def _probe_of_model(self):
        # On JAX this takes the weights out of the training loop, which is
        # dear: once a measurement, not once a batch.
        model = self.model
        if self._probe is None or self._probe.model is not model:
            probe = Probe(model)
            probe.check(self.x)
            self._probe = probe
        return self._probe

    def _write(self, measured, step, prefix=""):
        if self._file is None:
            return
        for name, values in measured.items():
            for kind in ("spike_rate", "silent", "saturated"):
                tag = f"{prefix}{kind}/{name}"
                self._file.scalar(tag, values[kind], step)
            if self.histograms:
                tag = f"{prefix}neuron_rates/{name}"
                self._file.histogram(tag, values["rates"], step)
        self._file.flush()

    def _draw(self, epoch):
        if not self.rasters:
            return
        first = keras.tree.map_structure(lambda x: x[: self.rasters], self.x)
        found = self._probe.trains(first)
        if self._file is None:
            return  # one of several processes, which compute it together
        for name, trains in found.items():
            images = [
                summaries.raster(
                    train,
                    f"{name}\nsample {i}, epoch {epoch}: "
                    f"{np.mean(train, dtype='float64'):.3f} spikes a step",
                )
                for i, train in enumerate(trains)
            ]
            self._file.images(f"raster/{name}", images, epoch)
        self._file.flush()

    def _warn(self, measured):
        if not processes.is_first():
            return
        for kind, limit in MOSTLY.items():
            found = {
                name: values[kind]
                for name, values in measured.items()
                if values[kind] >= limit and (name, kind) not in self._warned
            }
            if not (found and self.warn):
                continue
            self._warned |= {(name, kind) for name in found}
            advised = self._probe_of_model().advice(found, kind)
            for text, names in advised.items():
                listed = ", ".join(f"'{x}' ({found[x]:.0%})" for x in names)
                warnings.warn(
                    f"Most neurons are {kind} in {listed}. {MEANS[kind]} "
                    f"{text}",
                    stacklevel=2,
                )

    def _open(self, log_dir):
        self._close()
        if log_dir and not processes.is_first():
            return
        if log_dir:
            self._file = summaries.EventFile(os.path.join(log_dir, "spikes"))
        elif self.rasters or self.every_n_batches:
            option = "rasters" if self.rasters else "every_n_batches"
            raise ValueError(
                f"`{option}` of SpikeRateMonitor is for TensorBoard, and there "
                "is no folder to write to. Pass `log_dir`, or add "
                'keras.callbacks.TensorBoard("logs") to the callbacks.'
            )

    def _close(self):
        if self._file is not None:
            self._file.close()
        self._file = None


def _integer(name, value, least):
    """Return `value` as an int that is at least `least`."""
    if checks.is_integer(value, least):
        return int(value)
    raise ValueError(
        f"`{name}` of SpikeRateMonitor must be an integer, at least {least}. "
        f"Received: {name}={value!r}."
    )
