"""The figures of docs/trained.md: a picture, and what a network makes of it.

    python docs/figures/trained.py docs/images/trained

`SpikingCNN(weights="cifar10")` sees `cat.jpg`, Chelsea, photographed by Stefan
van der Walt (CC0), cut out of a picture of scikit-image.
"""

import argparse
import pathlib

import keras
import matplotlib.pyplot as plt
import numpy as np

import keras_snn as snn
from keras_snn.analysis import page

CAT = pathlib.Path(__file__).parents[1] / "images" / "trained" / "cat.jpg"
LAYERS = ("stem_lif", "group1_lif1", "group2_lif1")
STEPS = 4


def scaled(path):
    """Return a picture as the network takes it, and its pixels."""
    info = snn.datasets.info("cifar10")
    image = keras.utils.load_img(
        path, target_size=(32, 32), interpolation="box"
    )
    pixels = np.asarray(image, "float32") / 255
    return (pixels - info.mean) / info.std, pixels


def draw_spikes(recording, pixels):
    """Each step's spikes of three layers, summed over channels."""
    figure, axes = plt.subplots(len(LAYERS), STEPS + 1, figsize=(7, 4.4))
    for ax in axes.flat:
        ax.set(xticks=[], yticks=[])
        ax.set_frame_on(False)
    axes[0, 0].imshow(pixels)
    for row, name in zip(axes, LAYERS):
        spikes = recording.spikes[name][0].mean(-1)
        row[1].set_ylabel(name)
        for step, ax in enumerate(row[1:]):
            ax.imshow(spikes[step], cmap="viridis", vmin=0, vmax=spikes.max())
            if name == LAYERS[0]:
                ax.set_title(f"step {step + 1}")
    return figure


def draw_scores(scores):
    """The scores of the ten classes after each step."""
    names = snn.datasets.info("cifar10").class_names
    steps = np.arange(1, len(scores) + 1)
    figure, ax = plt.subplots(figsize=(7, 3))
    best = scores[-1].argmax()
    for number, name in enumerate(names):
        look = {"color": page.GREY, "alpha": 0.5, "lw": 1}
        if number == best:
            look = {"lw": 2.5, "label": name}
        ax.plot(steps, scores[:, number], ".-", **look)
    ax.set(xticks=steps, xlabel="time step", ylabel="score")
    ax.legend()
    return figure


def draw(folder):
    """Draw both figures into a folder; return the name of the class."""
    model = snn.models.SpikingCNN(weights="cifar10")
    x, pixels = scaled(CAT)
    recording = snn.analysis.record(model, x[None])
    stream = snn.streaming(model).stream()
    scores = np.stack([stream.step(x[None])[0] for _ in range(STEPS)])
    with plt.rc_context(page.STYLE):
        figures = {
            "spikes.svg": draw_spikes(recording, pixels),
            "scores.svg": draw_scores(scores),
        }
        for name, figure in figures.items():
            figure.savefig(folder / name, metadata={"Date": None})
            plt.close(figure)
    return snn.datasets.info("cifar10").class_names[scores[-1].argmax()]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=pathlib.Path)
    print(draw(parser.parse_args().folder))


if __name__ == "__main__":
    main()
