"""What the measured programs read: networks, images, thresholds, margins."""

import concurrent.futures

import numpy as np

import keras_snn as snn
from benchmarks.one_image import onnx_files, runtime
from benchmarks.publish import SAVED
from keras_snn.event_driven import WEIGHTS
from keras_snn_runtime.operations import PAIR
from keras_snn_runtime.samples import cores
from keras_snn_runtime.streams import Stepper

TRAINED = "vgg9_trained", "spikingcnn"
DENSE = "vgg9", "spikingcnn"  # of which there are dense networks
HELD_OUT = 1000  # training images that the trained networks did not see
POINTS = 0.005  # of accuracy that an early answer may cost
RATE_IMAGES = 4


def model(name, width=None):
    """Return a network; of some width as built, else as it is measured."""
    if name == "vgg9" or width:
        builder = "SpikingCNN" if name == "spikingcnn" else "VGG9"
        return getattr(snn.models, builder)(seed=0, width=width or 1)
    if name == "spikingcnn":
        return snn.models.SpikingCNN(weights="cifar10")
    return snn.models.VGG9(weights=SAVED / "vgg9_cifar10.npz")


def write(name, folder, calibration, width=None):
    """Write all files of a network; return it, by its type of weights."""
    built, networks = model(name, width), {}
    for weights in WEIGHTS:
        path = folder / f"{name}-{weights}.npz"
        networks[weights] = snn.export.runtime(
            built, path, weights, overwrite=True
        )
    if name in DENSE:
        path = folder / f"{name}.onnx"
        onnx_files.write(networks["float32"], path)
        first = calibration.transpose(0, 3, 1, 2)
        onnx_files.quantize(path, folder / f"{name}-int8.onnx", first)
    return networks


def data(data_dir):
    """Return test images, and held-out training images, each with classes."""
    (x, y), test = snn.datasets.load("cifar10", data_dir)
    order = np.random.default_rng(0).permutation(len(x))[:HELD_OUT]
    pairs = test, (x[order], y[order])
    return [(images, classes.argmax(-1)) for images, classes in pairs]


def thresholds(network, images, time_steps, rate):
    """Return thresholds with which the neurons of all layers fire at a rate.

    Going forward each is found by bisection, the layers behind being silent.

    Args:
        network: A `Network` in float32.
        images: Some images.
        time_steps: T.
        rate: Mean spikes a neuron and step.
    """
    found = [float("inf")] * sum(
        hasattr(x, "threshold") for x in network.operations
    )
    for layer in range(len(found)):
        low, high = 1e-4, 1e2
        for _ in range(20):
            found[layer] = (low * high) ** 0.5
            other = runtime.with_settings(network, time_steps, found)
            now = other.spike_rates(images)[layer]
            if abs(now - rate) < 0.02 * rate:
                break
            low, high = (
                (found[layer], high) if now > rate else (low, found[layer])
            )
    return found


def scores_by_step(network, images, together=50):
    """Return scores after each step, `(steps, images, classes)`."""
    steps = np.arange(1, network.time_steps + 1)
    factors = (1 / steps if network.divides else steps**0).astype("float32")

    def scores(start):
        x = images[start : start + together]
        stepper = Stepper(network.operations, network.arrays, len(x))
        (sums,) = stepper.results.values()
        found = []
        for factor in factors:
            stepper.step(x)
            found.append(sums * factor)
        return np.stack(found)

    with concurrent.futures.ThreadPoolExecutor(cores()) as pool:
        parts = list(pool.map(scores, range(0, len(images), together)))
    return np.concatenate(parts, axis=1)


def stopped(scores, margin):
    """Return classes and steps of images whose answer is given early.

    As `predict_until_sure` does, it looks after every second step.

    Args:
        scores: As of `scores_by_step`.
        margin: Of the largest score above the next one, from which on an
            answer is sure.
    """
    largest = np.sort(scores, axis=-1)
    sure = largest[..., -1] - largest[..., -2] >= margin
    sure[::PAIR] = False
    sure[-1] = True
    steps = sure.argmax(axis=0)
    answers = scores[steps, np.arange(len(steps))].argmax(-1)
    return answers, steps + 1


def chosen_margin(scores, classes):
    """Return the least margin from which on none costs more than `POINTS`."""
    full = np.mean(scores[-1].argmax(-1) == classes)
    largest = np.sort(scores, axis=-1)
    largest = largest[PAIR - 1 : -1 : PAIR]
    margins = np.unique(largest[..., -1] - largest[..., -2])
    candidates = np.append(np.quantile(margins, np.linspace(0, 1, 501)), np.inf)
    found = np.inf
    for margin in candidates[::-1]:
        if np.mean(stopped(scores, margin)[0] == classes) < full - POINTS:
            break
        found = float(margin)
    return found


def exits(network, test, held_out):
    """Return the margin of held-out images, and what it does to all images."""
    scores = scores_by_step(network, held_out[0])
    margin = chosen_margin(scores, held_out[1])
    found = {"margin": margin}
    of_test = scores_by_step(network, test[0])
    for name, scores, classes in (
        ("held_out", scores, held_out[1]),
        ("test", of_test, test[1]),
    ):
        answers, steps = stopped(scores, margin)
        found[name] = {
            "images": len(classes),
            "full_accuracy": float(np.mean(scores[-1].argmax(-1) == classes)),
            "accuracy": float(np.mean(answers == classes)),
            "steps": float(np.mean(steps)),
        }
    return found
