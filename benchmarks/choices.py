"""Which rule, T, beta, reset, input and normalization: the figures behind it.

    python -m benchmarks.choices gradients --data-dir DIR
    python -m benchmarks.choices accuracy --data-dir DIR
    python -m benchmarks.choices page

`gradients`: in a network as built, on one batch of images, each rule's
gradients of every kernel against backpropagation through time with the
sigmoid surrogate. `accuracy`: the same network after a fixed number of updates
on CIFAR-10, on images held out of training (the test set is not looked at).
Both go to `results/choices.json`; what is in there is not done again. `page`
writes the tables into `choices.md`.

The network has six convolutions of 3x3 (16 16 64 64 64 64 channels; every
second one is pooled) and a dense layer.
"""

import argparse
import json
import pathlib
import time

FOLDER = pathlib.Path(__file__).parent
RESULTS = FOLDER / "results" / "choices.json"
PAGE = FOLDER / "choices.md"
CHANNELS = (16, 16, 64, 64, 64, 64)
HELD_OUT = 5000
BASE = {
    "rule": "rate",
    "time_steps": 4,
    "beta": 0.5,
    "reset": "subtract",
    "input": "constant",
    "norm": "batch",
    "loss": "cross-entropy",
    "seed": 0,
    "updates": 100,
}
# The sum of squares is one over the batch, too. Of 2e-5, 1e-4, 5e-4 and 3e-3
# it learns most by this one.
LEARNING_RATES = {"squares": 0.0001}
RULES = {
    "rate": "rate, one pass",
    "collapsed": "collapsed, one pass",
    "exact": "exact",
    "bptt": "through time, sigmoid",
    "arctan": "through time, arctan",
    "steep": "rate, sigmoid of slope 8",
    "flat": "rate, sigmoid of slope 2",
    "rate_arctan": "rate, arctan surrogate",
}


def grid(*changes):
    """Return settings, each `BASE` with changes."""
    return [{**BASE, **change} for change in changes]


def gradient_settings():
    """Return what is compared, the most telling ones first."""
    settings = grid(
        *({"time_steps": t} for t in (4, 1, 2, 8, 16, 25, 100)),
        *({"time_steps": t, "input": "poisson"} for t in (4, 8, 25)),
        {"norm": "weight"},
    )
    settings += [
        {**BASE, "time_steps": t, "beta": beta, "reset": reset}
        for t in (4, 8, 1, 2, 16, 25, 100)
        for reset in ("subtract", "zero")
        for beta in (0.5, 0.9, 0.99, 1.0)
    ]
    return settings


def accuracy_settings():
    """Return what is trained, the most telling ones first."""
    return grid(
        *({"rule": rule} for rule in ("rate", "bptt", "collapsed", "exact")),
        *({"time_steps": t} for t in (1, 2, 8)),
        *({"beta": beta} for beta in (0.9, 0.99, 1.0)),
        {"reset": "zero"},
        *(
            {"reset": r, "seed": s}
            for s in (1, 2)
            for r in ("subtract", "zero")
        ),
        {"reset": "zero", "beta": 0.9},
        {"input": "poisson"},
        {"input": "poisson", "time_steps": 8},
        {"norm": "weight"},
        *({"loss": loss} for loss in ("squares", "tet")),
        *({"rule": rule} for rule in ("arctan", "steep", "flat")),
        {"rule": "rate_arctan"},
        *(
            {"rule": r, "seed": s}
            for s in (1, 2)
            for r in ("flat", "rate_arctan")
        ),
        *({"rule": "bptt", "seed": s} for s in (1, 2)),
        {"rule": "bptt", "time_steps": 8},
        {"time_steps": 16},
        {"rule": "collapsed", "time_steps": 16},
        *(
            {"updates": 360, "reset": reset, "rule": rule}
            for reset in ("subtract", "zero")
            for rule in ("rate", "flat")
        ),
    )


def key(settings):
    """Return how settings differ from `BASE`, as text."""
    changed = {k: v for k, v in settings.items() if v != BASE[k]}
    return ", ".join(f"{k}={v}" for k, v in changed.items()) or "base"


def rule_of(name):
    import keras_snn as snn

    sigmoid = snn.surrogates.Sigmoid
    return {
        "bptt": sigmoid(slope=4),
        "steep": snn.rules.Rate(sigmoid(slope=8)),
        "flat": snn.rules.Rate(sigmoid(slope=2)),
        "rate_arctan": snn.rules.Rate(snn.surrogates.Arctan()),
    }.get(name, name)


def network(settings):
    """Build the network, with weights that depend on the seed alone."""
    import keras

    import keras_snn as snn

    keras.utils.set_random_seed(settings["seed"])
    layers, fold = snn.layers, snn.layers.TimeFold
    encode = {
        "constant": layers.RepeatEncoder,
        "poisson": layers.PoissonEncoder,
    }[settings["input"]]
    standardized = settings["norm"] == "weight"
    convolution = (
        layers.StandardizedConv2D if standardized else keras.layers.Conv2D
    )
    inputs = keras.Input((32, 32, 3))
    x = encode(settings["time_steps"])(inputs)
    for i, channels in enumerate(CHANNELS):
        options = {} if standardized else {"use_bias": False}
        x = fold(
            convolution(channels, 3, padding="same", **options),
            name=f"conv{i + 1}",
        )(x)
        if i % 2:
            x = fold(keras.layers.AveragePooling2D(2))(x)
        if not standardized:
            x = fold(keras.layers.BatchNormalization(momentum=0.9))(x)
        x = layers.LIF(
            beta=settings["beta"],
            reset=settings["reset"],
            learning_rule=rule_of(settings["rule"]),
        )(x)
    x = fold(keras.layers.Flatten())(x)
    x = fold(keras.layers.Dense(10), name="dense")(x)
    if settings["loss"] != "tet":
        x = layers.MembraneReadout(beta=1.0)(x)
    return snn.Model(inputs, x)


def loss_of(name):
    import keras_snn as snn

    return {
        "cross-entropy": snn.losses.CrossEntropy(label_smoothing=0.1),
        "squares": snn.losses.SummedSquaredError(),
        "tet": snn.losses.TemporalEfficientTraining(),
    }[name]


def prepare(model, x):
    import keras_snn as snn

    snn.models.calibrate(model, x[:64])


def gradients_of(settings, x, y):
    """Return the gradient of each kernel as a vector, in forward order."""
    import numpy as np
    import tensorflow as tf

    model = network(settings)
    if settings["norm"] == "weight":
        prepare(model, x)
    loss = loss_of(settings["loss"])
    kernels = [w for w in model.trainable_weights if w.name == "kernel"]

    @tf.function
    def run(x, y):
        with tf.GradientTape() as tape:
            value = loss(y, model(x, training=True))
        return tape.gradient(value, [w.value for w in kernels])

    return [np.ravel(g).astype("float64") for g in run(x, y)]


def compare_gradients(settings, x, y):
    """Return each rule's cosine and length against time, by kernel."""
    import keras
    import numpy as np

    reference = gradients_of({**settings, "rule": "bptt"}, x, y)
    found = {}
    for rule in ("rate", "collapsed", "exact", "arctan"):
        got = gradients_of({**settings, "rule": rule}, x, y)
        pairs = list(zip(got, reference))
        norms = [(np.linalg.norm(a), np.linalg.norm(b)) for a, b in pairs]
        found[rule] = {
            "cosine": [
                float(a @ b / max(p * q, 1e-30))
                for (a, b), (p, q) in zip(pairs, norms)
            ],
            "length": [float(p / max(q, 1e-30)) for p, q in norms],
        }
        keras.backend.clear_session()
    return found


def train(settings, data):
    """Return what a network reaches on the held-out images."""
    import numpy as np

    import keras_snn as snn

    x, y = data
    model = network(settings)
    standardized, updates = settings["norm"] == "weight", settings["updates"]
    if standardized:
        prepare(model, x)
    rate = LEARNING_RATES.get(settings["loss"], 0.05 if standardized else 0.1)
    model.compile(
        snn.training.sgd(rate, updates),
        loss_of(settings["loss"]),
        # The steps' mean stands for a sequence of potentials.
        metrics=[] if settings["loss"] == "tet" else ["accuracy"],
    )
    batches = snn.training.AugmentedBatches(
        x[:-HELD_OUT], y[:-HELD_OUT], 125, seed=settings["seed"]
    )
    start = time.perf_counter()
    history = model.fit(
        batches, steps_per_epoch=updates, shuffle=False, verbose=0
    )
    seconds = time.perf_counter() - start
    outputs = model.predict(x[-HELD_OUT:], 250, verbose=0)
    if settings["loss"] == "tet":
        outputs = outputs.mean(1)
    right = outputs.argmax(-1) == y[-HELD_OUT:].argmax(-1)
    return {
        "held_out_accuracy": float(np.mean(right)),
        "loss": float(history.history["loss"][-1]),
        "seconds": seconds,
        "order": model.training_order,
        "spike_rates": list(
            snn.models.spike_rates(model, x[-HELD_OUT:][:250]).values()
        ),
    }


def remember(part, name, result):
    """Write one result beside those before."""
    from keras_snn.training.records import versions

    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results.setdefault(part, {})[name] = result
    results["versions"] = versions()
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")


def known(part):
    if not RESULTS.exists():
        return {}
    return json.loads(RESULTS.read_text()).get(part, {})


def run_gradients(data, args):
    x, y = data[0][: args.samples], data[1][: args.samples]
    for settings in gradient_settings():
        name = key(settings)
        if name not in known("gradients"):
            result = compare_gradients(settings, x, y)
            remember("gradients", name, {"settings": settings, **result})
            worst = min(result["rate"]["cosine"])
            print(f"{name}: rate's least cosine {worst:.3f}", flush=True)


def run_accuracy(data, args):
    import keras

    for settings in accuracy_settings():
        name = key(settings)
        if name not in known("accuracy"):
            result = train(settings, data)
            remember("accuracy", name, {"settings": settings, **result})
            print(
                f"{name}: {result['held_out_accuracy']:.2%} in "
                f"{result['seconds']:.0f} s",
                flush=True,
            )
            keras.backend.clear_session()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("part", choices=("gradients", "accuracy", "page"))
    parser.add_argument("--data-dir")
    parser.add_argument("--samples", type=int, default=32)
    args = parser.parse_args()
    if args.part == "page":
        from benchmarks.choices_page import write

        write(PAGE, json.loads(RESULTS.read_text()))
        return
    import keras_snn as snn

    data, _ = snn.datasets.load("cifar10", args.data_dir)
    {"gradients": run_gradients, "accuracy": run_accuracy}[args.part](
        data, args
    )


if __name__ == "__main__":
    main()
