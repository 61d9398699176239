"""The networks of `keras.applications`, converted: outputs against T.

    python -m benchmarks.applications

Nothing is downloaded: weights are random, and batch normalizations take their
statistics from 64 random images, so that signals get through at every depth;
the last bias makes each output 0 on average. So there is no accuracy to lose.
What is measured is whether the spiking network's ten outputs are those of the
ordinary one on 16 other random images, after T steps:

- correlation of all outputs,
- relative error, `|spiking - ordinary| / |ordinary|` over all outputs,
- agreement, the share of images with the same largest output.

Results go to `results/conversion_applications.json`, networks that are there
already are left out; `--table` prints them as Markdown. `--reports ResNet50`
adds `keras_snn.conversion.report` of a network, layer by layer.
"""

import argparse
import json
import pathlib
import sys
import time

import keras
import numpy as np

import keras_snn as snn
from benchmarks.conversion import compiled

RESULT = pathlib.Path(__file__).parent / "results/conversion_applications.json"
# Least images: 32 pixels, or what the network's poolings ask for.
NETWORKS = {
    "VGG16": 32,
    "ResNet50": 32,
    "ResNet50V2": 32,
    "DenseNet121": 32,
    "MobileNet": 32,
    "MobileNetV2": 32,
    "Xception": 71,
    "InceptionV3": 75,
    "InceptionResNetV2": 75,
    "NASNetMobile": 32,
}
REFUSED = ("EfficientNetB0", "EfficientNetV2B0", "MobileNetV3Small")
CLASSES = 10


def images(samples, size, seed):
    """Return smooth random images of mean 0 and deviation about 1."""
    random = np.random.default_rng(seed)
    image = 0.3 * random.normal(size=(samples, size, size, 3))
    for places in (2, 4, 8):
        coarse = random.normal(size=(samples, places, places, 3))
        image += keras.ops.convert_to_numpy(
            keras.ops.image.resize(coarse.astype("float32"), (size, size))
        )
    return (image / image.std()).astype("float32")


def network(name, size):
    """Return a network with random weights through which signals get."""
    keras.utils.set_random_seed(0)
    model = getattr(keras.applications, name)(
        weights=None,
        input_shape=(size, size, 3),
        classes=CLASSES,
        classifier_activation=None,
    )
    x = images(64, size, 1)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    model(x, training=True)
    biases = [getattr(y, "bias", None) for y in model.layers]
    biases = [bias for bias in biases if bias is not None]
    biases[-1].assign(-keras.ops.mean(model.predict(x, verbose=0), axis=0))
    return model, x


def outputs(model, x, checkpoints):
    """Return the outputs after each number of steps, in one pass."""
    step = snn.streaming(model)
    frames = keras.ops.convert_to_tensor(x)

    def advance(steps, scores, *state):
        return keras.ops.fori_loop(
            0,
            steps,
            lambda _, carry: tuple(step([frames, *carry[1:]])),
            (scores, *state),
        )

    advance, found, done = compiled(advance), {}, 0
    carry = [np.zeros((len(x), CLASSES), "float32")]
    carry += step.initial_state(len(x))
    for t in checkpoints:
        steps = keras.ops.convert_to_tensor(t - done, "int32")
        carry, done = advance(steps, *carry), t
        found[t] = keras.ops.convert_to_numpy(carry[0])
    return found


def compare(found, expected):
    return {
        "correlation": float(
            np.corrcoef(found.ravel(), expected.ravel())[0, 1]
        ),
        "relative_error": float(
            np.linalg.norm(found - expected) / np.linalg.norm(expected)
        ),
        "agreement": float(np.mean(found.argmax(1) == expected.argmax(1))),
    }


def measure(name, args):
    """Return what is known of one network, converted."""
    size = NETWORKS[name]
    ann, x_calibration = network(name, size)
    started = time.perf_counter()
    model = snn.conversion.convert(ann, x_calibration, args.method)
    seconds = time.perf_counter() - started
    x = images(args.images, size, 2)
    expected = ann.predict(x, verbose=0)
    found = outputs(model, x, args.time_steps)
    stages = [getattr(y, "layer", y) for y in model.layers]
    return {
        "image": size,
        "parameters": ann.count_params(),
        "spiking_layers": sum(isinstance(y, snn.layers.IF) for y in stages),
        "standing_normalizations": sum(
            isinstance(y, snn.layers.Affine) and y.use_scale for y in stages
        ),
        "dense_reason": model.dense_reason(),
        "conversion_seconds": round(seconds, 1),
        "against_time_steps": {
            str(t): compare(y, expected) for t, y in found.items()
        },
    }


def report(name, args, samples=4, time_steps=128):
    """Return the report of one network, layer by layer."""
    size = NETWORKS[name]
    ann, x_calibration = network(name, size)
    model = snn.conversion.convert(
        ann, x_calibration, args.method, time_steps=time_steps
    )
    found = snn.conversion.report(ann, model, images(samples, size, 2))
    numbers = found.to_dict()
    # Sentences made of the numbers.
    del numbers["reasons"]
    return numbers


def refusal(name):
    """Return the lines of the error that names what cannot be converted."""
    ann = getattr(keras.applications, name)(
        weights=None, input_shape=(32, 32, 3), classes=CLASSES
    )
    try:
        snn.conversion.convert(ann, images(4, 32, 0))
    except ValueError as error:
        return [s for s in str(error).split("\n") if s.startswith("- ")]
    raise RuntimeError(f"{name} converts.")


def table(result):
    """Return the results as Markdown."""
    steps = result["time_steps"]
    lines = [
        "| network | image | " + " | ".join(f"T = {t}" for t in steps) + " |",
        "|---|---:|" + "---:|" * len(steps),
    ]
    for name in NETWORKS:
        entry = result["networks"].get(name)
        if entry is None:
            continue
        cells = [
            f"{found['correlation']:.3f}, {found['relative_error']:.0%}, "
            f"{found['agreement']:.0%}"
            for found in entry["against_time_steps"].values()
        ]
        lines.append(f"| {name} | {entry['image']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def arguments(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    known = [*NETWORKS, *REFUSED]
    parser.add_argument("--networks", nargs="+", default=known, choices=known)
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--method", default="percentile")
    parser.add_argument(
        "--time-steps", type=int, nargs="+", default=[8, 32, 128]
    )
    parser.add_argument("--output", type=pathlib.Path, default=RESULT)
    parser.add_argument("--reports", nargs="*", default=[], choices=NETWORKS)
    parser.add_argument("--table", action="store_true", help="print, no more")
    return parser.parse_args(argv)


def main(argv=None):
    args = arguments(argv)
    result = {"networks": {}, "refused": {}}
    if args.output.exists():
        result = json.loads(args.output.read_text("utf-8"))
    if not args.table:
        command = " ".join(sys.argv[1:] if argv is None else argv)
        result["command"] = (
            f"python -m benchmarks.applications {command}".strip()
        )
        result.update(
            images=args.images,
            method=args.method,
            time_steps=args.time_steps,
            keras=keras.__version__,
            backend=keras.config.backend(),
        )
        for name in args.networks:
            kind = "networks" if name in NETWORKS else "refused"
            if name in result[kind]:
                continue
            run = measure(name, args) if name in NETWORKS else refusal(name)
            result[kind][name] = run
            text = json.dumps(result, indent=1)
            args.output.write_text(text + "\n", "utf-8")
            print(name, run, flush=True)
        for name in args.reports:
            found = result.setdefault("reports", {})
            found[name] = report(name, args)
            args.output.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    print(table(result))


if __name__ == "__main__":
    main()
