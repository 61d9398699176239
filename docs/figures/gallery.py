"""The figures of docs/gallery.md, of trained networks in the package.

    python docs/figures/gallery.py docs/images/gallery --data-dir DIR

DIR holds MNIST as `keras_snn.datasets.load("mnist", DIR)` finds it, and the
test recordings of N-MNIST. `LeNet(weights="mnist")` sees the first 1,000 test
images, `LeNet(weights="nmnist")` one recording.
"""

import argparse
import pathlib

import matplotlib.pyplot as plt
import numpy as np

import keras_snn as snn
from keras_snn.analysis import page, plots

IMAGES, STEPS = 1000, 8
DEVICE = "45nm-float32"
WINDOW, WINDOWS = 20_000, 15  # microseconds, and how many
RECORDING = 47
RED, BLUE = (0.85, 0.27, 0.23, 1.0), (0.26, 0.58, 0.76, 1.0)


def lenet(time_steps=STEPS):
    return snn.models.LeNet(weights="mnist", time_steps=time_steps)


def draw_raster(x, y):
    """Spikes of three layers that see one image."""
    recording = snn.analysis.record(lenet(), x[:1])
    figure, axes = plt.subplots(1, 3, figsize=(9, 3.6))
    for ax, layer in zip(axes, ("block1_lif1", "block2_lif1", "fc1_lif")):
        plots.raster(recording, layer, ax=ax)
        # A picture in the file: thousands of lines would be larger.
        for marks in ax.collections:
            marks.set_rasterized(True)
    return figure


def draw_membrane(x, y):
    """Potentials of the three neurons that fire most."""
    recording = snn.analysis.record(lenet(), x[:1])
    figure, ax = plt.subplots(figsize=(7, 3.4))
    plots.membrane(recording, "fc1_lif", ax=ax)
    return figure


def draw_rates(x, y):
    """Spikes a neuron and step of each layer."""
    figure, ax = plt.subplots(figsize=(7, 2))
    plots.rate_bars(snn.models.spike_rates(lenet(), x), ax=ax)
    return figure


def draw_accuracy(x, y):
    """Accuracy after every step."""
    figure, ax = plt.subplots(figsize=(7, 3.2))
    plots.latency(snn.analysis.latency_curve(lenet(), x, y), ax=ax)
    return figure


def draw_energy(x, y):
    """Energy of t steps, beside that of the network with ReLUs."""
    steps = range(1, STEPS + 1)
    found = [
        snn.analysis.profile(lenet(t), x[:100]).energy(DEVICE) for t in steps
    ]
    figure, ax = plt.subplots(figsize=(7, 3.2))
    ax.plot(steps, [e.snn / 1e6 for e in found], ".-", label="spikes")
    ax.axhline(
        found[0].ann / 1e6, color=page.GREY, ls="--", label="ReLUs, one pass"
    )
    ax.set(
        xlabel="time steps",
        ylabel="energy of one inference, uJ",
        title=f"LeNet on {DEVICE}",
        ylim=(0, None),
    )
    ax.legend()
    return figure


def draw_layers(x, y):
    """Energy by layer."""
    figure, ax = plt.subplots(figsize=(7, 3.4))
    counted = snn.analysis.profile(lenet(), x[:100])
    plots.energy_bars(counted, DEVICE, ax=ax)
    return figure


def draw_kernels(x, y):
    """Kernels of the first convolution, negative ones blue."""
    kernels = np.asarray(lenet().get_weights()[0])[:, :, 0]
    limit = np.abs(kernels).max()
    figure, axes = plt.subplots(2, 10, figsize=(7, 1.6))
    for ax, kernel in zip(axes.flat, np.moveaxis(kernels, -1, 0)):
        ax.imshow(kernel, cmap="RdBu_r", vmin=-limit, vmax=limit)
        ax.set_axis_off()
    return figure


def stream_of(recording):
    """Return the scores after each window of a recording, `(windows, 10)`."""
    stream = snn.streaming(snn.models.LeNet(weights="nmnist")).stream()
    windows = snn.datasets.events.split_windows(recording, WINDOW, WINDOWS)
    return np.stack(
        [
            stream.step_events(part["x"], part["y"], part["p"])[0]
            for _, part in windows
        ]
    )


def draw_stream(recording, digit):
    """Events of some windows, and the scores as the windows come."""
    scores = stream_of(recording)
    frames = snn.datasets.events.to_frames(
        recording, (34, 34), time_steps=WINDOWS, window=WINDOW
    )
    figure = plt.figure(figsize=(8, 4.2))
    above, below = figure.subfigures(2, 1, height_ratios=(1, 2.4))
    shown = range(0, WINDOWS, 2)
    for ax, step in zip(above.subplots(1, len(shown)), shown):
        picture = np.zeros((34, 34, 4))
        for polarity, color in enumerate((BLUE, RED)):
            picture[frames[step, ..., polarity] > 0] = color
        ax.imshow(picture)
        ax.set_title(f"{(step + 1) * WINDOW // 1000} ms", size=9)
        ax.set_axis_off()
    _draw_scores(below.subplots(), scores, digit)
    return figure


def _draw_scores(ax, scores, digit):
    time = WINDOW / 1000 * np.arange(1, len(scores) + 1)
    others = np.delete(scores, digit, axis=1)
    ax.plot(time, others, color=page.GREY, lw=0.8, alpha=0.6)
    ax.plot(time, scores[:, digit], color=RED, lw=2, label=f"score of {digit}")
    for at, row in zip(time, scores):
        answer = row.argmax()
        ax.annotate(
            str(answer),
            (at, row.max()),
            (0, 5),
            textcoords="offset points",
            ha="center",
            color=RED if answer == digit else page.GREY,
            weight="bold",
        )
    ax.set(xlabel="time, ms (numbers: the answer)", ylabel="scores so far")
    ax.margins(y=0.15)
    ax.legend(loc="lower right")


OF_IMAGES = {
    "raster": draw_raster,
    "membrane": draw_membrane,
    "rates": draw_rates,
    "accuracy": draw_accuracy,
    "energy": draw_energy,
    "layers": draw_layers,
    "kernels": draw_kernels,
}


def draw(folder, images, labels, recording, digit):
    """Draw all figures into a folder."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with plt.rc_context(page.STYLE):
        for name, function in OF_IMAGES.items():
            _save(function(images, labels), folder / f"{name}.svg")
        _save(draw_stream(recording, digit), folder / "stream.svg")


def _save(figure, path):
    # Without a date: the same picture is the same file.
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--data-dir", required=True)
    args = parser.parse_args()
    _, (x, y) = snn.datasets.load("mnist", args.data_dir)
    test = snn.datasets.events.recordings("nmnist", "test", args.data_dir)
    digit = int(test.labels[RECORDING].argmax())
    draw(args.folder, x[:IMAGES], y[:IMAGES], test[RECORDING], digit)


if __name__ == "__main__":
    main()
