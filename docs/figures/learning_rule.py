"""The figures of docs/learning_rule.md, drawn by the library's own functions.

    python docs/figures/learning_rule.py docs/images/learning_rule

One neuron's potential, spikes and derivative; the credit that three learning
rules give it; how far their gradients agree in a network; and the measured
memory of a training step, from benchmarks/results/compare_rules.json.
"""

import json
import pathlib
import sys

import keras
import matplotlib.pyplot as plt
import numpy as np

import keras_snn as snn
from keras_snn.analysis import page

BETA, STEPS = 0.9, 40
RESULTS = pathlib.Path(__file__).parents[2] / "benchmarks/results"
RED, BLUE, GREEN, GREY = "#d9443a", "#4393c3", "#5aa469", "#8a8a8a"


def neuron(currents):
    """Return `(u, s)`, potential before the reset and spikes, `(1, T, 1)`."""
    v, u, s = np.zeros(1, "float32"), [], []
    for current in currents[0]:
        u.append(v + current)
        spikes, v = snn.neurons.lif_step(v, current, BETA)
        s.append(np.asarray(spikes))
    return np.stack(u)[None], np.stack(s)[None]


def factor_of(spikes):
    """Return the leak-corrected factor of spikes `(1, T, 1)`."""
    total, trace, _ = snn.neurons.spike_statistics(spikes, BETA)
    return snn.neurons.leak_corrected_factor(total, trace, BETA)


def one_neuron():
    """Return currents, potential and spikes of the neuron in two figures."""
    rng = np.random.default_rng(4)
    currents = rng.uniform(0.0, 0.6, (1, STEPS, 1)).astype("float32")
    currents[:, 31:] = 0.05
    return currents, *neuron(currents)


def draw_neuron():
    """Potential and spikes of one neuron, and the factor as steps pass."""
    _, u, s = one_neuron()
    steps = np.arange(1, STEPS + 1)
    factors = [float(factor_of(s[:, :t])[0, 0]) for t in steps]
    figure, (top, below) = plt.subplots(
        2, 1, figsize=(7, 4), sharex=True, height_ratios=(3, 2)
    )
    top.plot(steps, u[0, :, 0], color=BLUE, label="potential u(t)")
    top.axhline(1.0, color=GREY, lw=0.8, ls="--", label="threshold")
    fired = steps[s[0, :, 0] > 0]
    top.vlines(fired, 1.5, 1.7, color=RED, lw=2, label="spikes s(t)")
    top.set(ylabel="potential", ylim=(0, 1.8))
    top.legend(ncols=3, loc="upper center", bbox_to_anchor=(0.5, 1.2))
    below.step(steps, factors, color=RED, where="mid")
    below.axhline(1.0, color=GREY, lw=0.8, ls="--")
    below.set(xlabel="time step", ylabel="factor", ylim=(-0.05, 1.1))
    return figure


def draw_credit():
    """`dL/dI(t)` of one neuron by three rules, for the same `dL/ds(t)`."""
    _, u, s = one_neuron()
    steps = np.arange(1, STEPS + 1)
    upstream = 1.0 + 0.8 * np.sin(2 * np.pi * steps / STEPS, dtype="float32")
    upstream = upstream.astype("float32")[None, :, None]
    factor = factor_of(s)
    _, _, t_last = snn.neurons.spike_statistics(s, BETA)
    rules = {
        "exact": (RED, snn.neurons.exact_backward(s, upstream, factor)),
        "collapsed": (
            BLUE,
            snn.neurons.collapsed_backward(upstream, factor, t_last),
        ),
        "arctan": (
            GREEN,
            snn.neurons.surrogate_backward(
                u, upstream, snn.surrogates.Arctan(), BETA, 1.0, "zero"
            ),
        ),
    }
    figure, ax = plt.subplots(figsize=(7, 3.2))
    ax.plot(steps, upstream[0, :, 0], color=GREY, ls=":", label="G(t) = dL/ds")
    for name, (color, credit) in rules.items():
        credit = np.asarray(credit)[0, :, 0]
        ax.step(steps, credit, where="mid", color=color, label=name)
    fired = steps[s[0, :, 0] > 0]
    ax.vlines(fired, -0.2, -0.05, color=GREY, lw=2)
    ax.set(xlabel="time step (ticks: spikes)", ylabel="D(t) = dL/dI(t)")
    ax.legend(ncols=4, loc="upper center", bbox_to_anchor=(0.5, 1.17))
    return figure


def gradients(rule, weights, x, y):
    """Return the kernels' gradients by one rule, flat, and their names."""
    import tensorflow as tf

    model = network(rule, x.shape[1])
    model.set_weights(weights)
    loss = snn.losses.SummedSquaredError()
    with tf.GradientTape() as tape:
        value = loss(y, model(x, training=True))
    found = tape.gradient(value, [w.value for w in model.trainable_weights])
    names = [w.path.split("/")[0] for w in model.trainable_weights]
    return names, [np.ravel(g) for g in found]


def network(rule, time_steps):
    return snn.models.VGG7(
        input_shape=(8, 8, 1),
        time_steps=time_steps,
        encoder=None,
        learning_rule=rule,
        norm="none",
        dropout=0.0,
        width=1 / 4,
    )


def cosines(time_steps=20, samples=32):
    """Return layer names and the cosines of two rules with the exact one."""
    # One order of sums, with and without Numba.
    snn.event_driven.disable()
    keras.utils.set_random_seed(0)
    (images, labels), _ = snn.datasets.load("digits")
    x = snn.encoding.poisson(images[:samples], time_steps, seed=0)
    x, y = np.asarray(x), labels[:samples]
    model = network("exact", time_steps)
    snn.models.scale_to_rate(model, x)
    weights = model.get_weights()
    names, exact = gradients("exact", weights, x, y)
    found = {}
    for rule in ("collapsed", "arctan"):
        _, other = gradients(rule, weights, x, y)
        found[rule] = [
            float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
            for a, b in zip(exact, other)
        ]
    return names, found


def draw_cosines():
    """How far two rules' gradients agree with the exact rule's, by layer."""
    names, found = cosines()
    figure, ax = plt.subplots(figsize=(7, 3.2))
    for (rule, values), color in zip(found.items(), (BLUE, GREEN)):
        ax.plot(names, values, "o-", color=color, label=rule)
    ax.axhline(1.0, color=GREY, lw=0.8, ls="--")
    ax.set(ylabel="cosine with the exact rule", ylim=(0, 1.05))
    ax.tick_params(axis="x", rotation=20)
    ax.legend(loc="lower right")
    return figure


def draw_memory():
    """Memory of a training step of VGG9 against T, as measured."""
    text = (RESULTS / "compare_rules.json").read_text("utf-8")
    cases = json.loads(text)["cases"]
    shown = {
        "keras_snn": ("keras_snn, collapsed", BLUE),
        "keras_snn-exact": ("keras_snn, exact", RED),
        "snntorch": ("snnTorch, arctan", GREEN),
        "spikingjelly": ("SpikingJelly, arctan", GREY),
    }
    figure, ax = plt.subplots(figsize=(7, 3.6))
    for library, (label, color) in shown.items():
        points = sorted(
            (case["time_steps"], case["memory_increase"] / 1e9)
            for case in cases
            if (case["library"], case["network"], case["what"])
            == (library, "vgg9", "train")
        )
        ax.plot(*zip(*points), "o-", color=color, label=label)
    ax.set(
        xlabel="time steps T",
        ylabel="memory above the import (GB)",
        yscale="log",
        yticks=(0.5, 1, 2, 5, 10, 20),
        yticklabels=("0.5", "1", "2", "5", "10", "20"),
    )
    ax.legend()
    return figure


FIGURES = {
    "neuron": draw_neuron,
    "credit": draw_credit,
    "cosines": draw_cosines,
    "memory": draw_memory,
}


def main(folder):
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with plt.rc_context(page.STYLE):
        for name, draw in FIGURES.items():
            figure = draw()
            # Without a date: the same picture is the same file.
            figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
            plt.close(figure)


if __name__ == "__main__":
    main(sys.argv[1])
