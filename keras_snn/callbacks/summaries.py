"""Files that TensorBoard reads, and rasters to put into them.

They are written with TensorBoard's own package, which needs no TensorFlow.
"""

import contextlib
import io
import os
import time

import keras
import numpy as np

from keras_snn import optional

MOST_NEURONS = 100


def require_tensorboard():
    """Raise an `ImportError` with advice where TensorBoard is missing."""
    optional.require("tensorboard", "tensorboard")


def require_matplotlib():
    """Raise an `ImportError` with advice where matplotlib is missing."""
    optional.require("matplotlib", "plot")


def log_dir_of_fit(model):
    """Return the folder of the TensorBoard in a `snn.Model`'s fit, or None."""
    for callback in getattr(model, "callbacks_of_fit", ()):
        if isinstance(callback, keras.callbacks.TensorBoard):
            return callback.log_dir
    return None


class EventFile:
    """A file of summaries in a folder, which TensorBoard takes for a run.

    Args:
        directory: The folder; created if need be.
    """

    def __init__(self, directory):
        require_tensorboard()
        from tensorboard.summary.writer import event_file_writer

        self._directory = os.fspath(directory)
        with self._naming():
            self._file = event_file_writer.EventFileWriter(self._directory)

    def scalar(self, tag, value, step):
        from tensorboard.plugins.scalar import summary_v2

        self._add(summary_v2.scalar_pb(tag, value), step)

    def histogram(self, tag, values, step):
        from tensorboard.plugins.histogram import summary_v2

        self._add(summary_v2.histogram_pb(tag, values), step)

    def images(self, tag, images, step):
        """Add PNG images of one size, pairs `(bytes, (width, height))`."""
        from tensorboard.compat.proto import summary_pb2
        from tensorboard.plugins.image import metadata
        from tensorboard.util import tensor_util

        size = [str(pixels).encode() for pixels in images[0][1]]
        content = np.array([*size, *(png for png, _ in images)], dtype=object)
        summary = summary_pb2.Summary()
        summary.value.add(
            tag=tag,
            tensor=tensor_util.make_tensor_proto(content),
            metadata=metadata.create_summary_metadata(
                display_name=None, description=None
            ),
        )
        self._add(summary, step)

    def _add(self, summary, step):
        from tensorboard.compat.proto import event_pb2

        event = event_pb2.Event(
            wall_time=time.time(), step=step, summary=summary
        )
        with self._naming():
            self._file.add_event(event)

    def flush(self):
        with self._naming():
            self._file.flush()

    def close(self):
        with self._naming():
            self._file.close()

    @contextlib.contextmanager
    def _naming(self):
        """Say which file could not be written.

        Its writer raises errors of Python's or, where that is installed, of
        TensorFlow's.
        """
        try:
            yield
        except Exception as error:
            raise OSError(
                f"TensorBoard's file in {self._directory} cannot be written: "
                f"{error}. See to the disk and the folder."
            ) from error


def raster(train, title):
    """Draw spikes over time, a row for each neuron.

    Args:
        train: Spikes of one sample, `(time, ...features)`. Of more than 100
            neurons, 100 evenly spaced ones are drawn.
        title: Text above the raster.

    Returns:
        Tuple: the PNG file's bytes, and its `(width, height)` in pixels.
    """
    require_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    time_steps = len(train)
    train = train.reshape(time_steps, -1)
    count = train.shape[1]
    shown = np.linspace(0, count - 1, min(count, MOST_NEURONS)).astype(int)
    # Without pyplot: no global state, and no window system.
    figure = Figure(figsize=(4.8, 3.6), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.imshow(
        train[:, shown].T,
        cmap="Greys",
        vmin=0,
        vmax=1,
        aspect="auto",
        origin="lower",
        interpolation="nearest",
        extent=(0.5, time_steps + 0.5, 0.5, len(shown) + 0.5),
    )
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_xlabel("time step")
    axes.set_ylabel(f"{len(shown)} of {count} neurons")
    axes.set_title(title, fontsize="medium")
    file = io.BytesIO()
    canvas.print_png(file)
    return file.getvalue(), canvas.get_width_height()
