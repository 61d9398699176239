"""Accuracy of converted networks over the number of time steps.

    python -m benchmarks.conversion --data-dir DIR --output runs/conversion

trains a CNN on MNIST and a VGG9 with batch normalisation on CIFAR-10, both
briefly, converts them by every method, and writes the accuracy at 4, 8, ...,
512 time steps to `conversion.json` and `conversion.md` in the output folder.
DIR is a tensorflow-datasets directory with both data sets. What was trained
or measured already is not done again when the command is repeated.
"""

import argparse
import json
import os
import pathlib
import time

# Convolutions of few channels are several times faster this way on CPUs
# where TensorFlow does not choose it by itself.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras  # noqa: E402
import numpy as np  # noqa: E402
from keras import ops  # noqa: E402

import keras_snn as snn  # noqa: E402

L = keras.layers
LEVELS = 8
CASES = {
    "max": {"method": "max"},
    "percentile": {"method": "percentile"},
    "percentile, zero reset": {"method": "percentile", "reset": "zero"},
    "threshold balancing": {"method": "threshold_balancing"},
    f"QCFS, {LEVELS} levels": {"method": "qcfs"},
}
# (network, case, T): the largest loss of accuracy asked for, in points.
BARS = {
    ("mnist", "percentile", 256): 0.1,
    ("mnist", f"QCFS, {LEVELS} levels", 16): 0.5,
    ("cifar10", "percentile", 128): 1.0,
}
# Epochs of the network itself, and of its quantised copy.
EPOCHS = {"mnist": (3, 2), "cifar10": (5, 2), "digits": (1, 1)}


def cnn(input_shape):
    """Two convolutions with max pooling, two dense layers."""
    return keras.Sequential(
        [
            keras.Input(input_shape),
            L.Conv2D(32, 3, padding="same", activation="relu"),
            L.MaxPooling2D(),
            L.Conv2D(64, 3, padding="same", activation="relu"),
            L.MaxPooling2D(),
            L.Flatten(),
            L.Dense(128, activation="relu"),
            L.Dropout(0.25),
            L.Dense(10, activation="softmax"),
        ],
        name="cnn",
    )


def vgg9(input_shape, width):
    """The layout of `keras_snn.models.VGG9`, with batch normalisation."""
    x = inputs = keras.Input(input_shape)
    for filters, repeats in ((64, 2), (128, 2), (256, 3)):
        for _ in range(repeats):
            x = L.Conv2D(int(filters * width), 3, padding="same")(x)
            x = L.ReLU()(L.BatchNormalization()(x))
        x = L.AveragePooling2D(2)(x)
    x = L.Dense(int(1024 * width), activation="relu")(L.Flatten()(x))
    outputs = L.Dense(10, activation="softmax")(L.Dropout(0.25)(x))
    return keras.Model(inputs, outputs, name="vgg9")


def train(model, data, epochs, learning_rate):
    (x, y), test = data
    steps = epochs * -(-len(x) // 64)
    schedule = keras.optimizers.schedules.CosineDecay(learning_rate, steps)
    model.compile(
        keras.optimizers.Adam(schedule),
        "categorical_crossentropy",
        metrics=["accuracy"],
    )
    model.fit(x, y, 64, epochs, validation_data=test, verbose=2)


def trained(path, make, *args):
    """Return the model at `path`, made and trained if there is none."""
    if not path.exists():
        model = make()
        train(model, *args)
        model.save(path)
    return keras.models.load_model(path)


def accuracies(model, images, labels, checkpoints, batch_size):
    """Return the accuracy after each number of steps, in one pass."""
    step = snn.streaming(model)

    def advance(frames, steps, scores, *state):
        return ops.fori_loop(
            0,
            steps,
            lambda _, carry: tuple(step([frames, *carry[1:]])),
            (scores, *state),
        )

    advance = compiled(advance)
    right = dict.fromkeys(checkpoints, 0)
    started = time.time()
    for start in range(0, len(images), batch_size):
        frames = ops.convert_to_tensor(images[start : start + batch_size])
        classes = np.argmax(labels[start : start + batch_size], axis=-1)
        carry = [
            ops.zeros((len(classes), 10)),
            *step.initial_state(len(classes)),
        ]
        done = 0
        for checkpoint in checkpoints:
            steps = ops.convert_to_tensor(checkpoint - done, "int32")
            carry = advance(frames, steps, *carry)
            done = checkpoint
            found = ops.convert_to_numpy(carry[0]).argmax(axis=-1)
            right[checkpoint] += int((found == classes).sum())
        print(f"  {start + len(classes)} images, {time.time() - started:.0f} s")
    return {t: n / len(images) for t, n in right.items()}


def compiled(function):
    if keras.config.backend() != "tensorflow":
        import jax

        return jax.jit(function)
    import tensorflow as tf

    return tf.function(function, reduce_retracing=True)


def measure(network, args, results, save):
    """Train what is missing, and measure every case not measured yet."""
    folder = args.output / network
    folder.mkdir(parents=True, exist_ok=True)
    train_data, test_data = snn.datasets.load(network, args.data_dir)
    if args.smoke:
        train_data = [x[:64] for x in train_data]
    data = train_data, test_data
    (x, _), (x_test, y_test) = data
    x_test, y_test = x_test[: args.images], y_test[: args.images]
    calibration = x[: args.calibration_images]
    keras.utils.set_random_seed(args.seed)
    shape = x.shape[1:]
    build = cnn if network != "cifar10" else lambda s: vgg9(s, args.width)
    epochs, epochs_quantised = EPOCHS[network]
    ann = trained(
        folder / "ann.keras", lambda: build(shape), data, epochs, 2e-3
    )
    quantised = trained(
        folder / "quantised.keras",
        lambda: snn.conversion.quantize(ann, LEVELS, calibration),
        data,
        epochs_quantised,
        5e-4,
    )
    checkpoints = [2**k for k in range(2, 10) if 2**k <= args.time_steps]
    settings = {"images": len(x_test), "checkpoints": checkpoints}
    entry = results.setdefault(network, {})
    if entry.get("settings") != settings:
        entry.clear()
    entry["settings"] = settings
    for model, name in ((ann, "ann"), (quantised, "quantised")):
        predicted = model.predict(x_test, batch_size=250, verbose=0)
        same = predicted.argmax(axis=-1) == y_test.argmax(axis=-1)
        entry[name] = float(same.mean())
    cases = entry.setdefault("cases", {})
    for case, options in CASES.items():
        if case in cases or case not in args.cases:
            continue
        print(f"{network}: {case}", flush=True)
        source = quantised if options["method"] == "qcfs" else ann
        model = snn.conversion.convert(
            source, calibration, time_steps=min(128, args.time_steps), **options
        )
        report = snn.conversion.report(source, model, x_test[:100])
        started = time.time()
        found = accuracies(model, x_test, y_test, checkpoints, args.batch_size)
        cases[case] = {
            "accuracy": {str(t): a for t, a in found.items()},
            "seconds": round(time.time() - started, 1),
            "report": report.to_dict(),
        }
        save()


def table(results):
    """Return the results as Markdown."""
    lines = ["# Converted networks", ""]
    for network, entry in results.items():
        checkpoints = entry["settings"]["checkpoints"]
        lines += [
            f"## {network}",
            "",
            f"{entry['settings']['images']} test images. Accuracy of the "
            f"ordinary network: {entry['ann']:.2%}, of its quantised copy: "
            f"{entry['quantised']:.2%}.",
            "",
            "| method | " + " | ".join(f"T = {t}" for t in checkpoints) + " |",
            "|---|" + "---:|" * len(checkpoints),
        ]
        for case, result in entry["cases"].items():
            cells = [f"{result['accuracy'][str(t)]:.2%}" for t in checkpoints]
            lines.append(f"| {case} | " + " | ".join(cells) + " |")
        lines += ["", *bars(network, entry), ""]
    return "\n".join(lines)


def bars(network, entry):
    """Return one line for each bar: the loss asked for and measured."""
    lines = []
    for (name, case, t), most in BARS.items():
        measured = entry["cases"].get(case, {}).get("accuracy", {})
        if name != network or str(t) not in measured:
            continue
        loss = 100 * (entry["ann"] - measured[str(t)])
        verdict = "met" if loss <= most + 1e-9 else "missed"
        lines.append(
            f"- {case}, T = {t}: loses {loss:.2f} points of the ordinary "
            f"network's accuracy; at most {most} asked for: {verdict}."
        )
    return lines


def arguments(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--network", nargs="+", default=["mnist", "cifar10"])
    parser.add_argument(
        "--cases", nargs="+", default=list(CASES), choices=list(CASES)
    )
    parser.add_argument("--images", type=int, help="test images; default: all")
    parser.add_argument("--calibration-images", type=int, default=1000)
    parser.add_argument("--time-steps", type=int, default=512)
    parser.add_argument("--batch-size", type=int, default=50)
    parser.add_argument("--width", type=float, default=0.25, help="of VGG9")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data-dir")
    parser.add_argument("--output", type=pathlib.Path, required=True)
    parser.add_argument("--smoke", action="store_true", help="digits, seconds")
    args = parser.parse_args(argv)
    if args.smoke:
        args.network = ["digits"]
        args.images, args.time_steps, args.calibration_images = 20, 8, 64
    return args


def main(argv=None):
    args = arguments(argv)
    args.output.mkdir(parents=True, exist_ok=True)
    path = args.output / "conversion.json"
    results = json.loads(path.read_text()) if path.exists() else {}

    def save():
        path.write_text(json.dumps(results, indent=2) + "\n")
        (args.output / "conversion.md").write_text(table(results))

    for network in args.network:
        measure(network, args, results, save)
    save()
    print(table(results))


if __name__ == "__main__":
    main()
