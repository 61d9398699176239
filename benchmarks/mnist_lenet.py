"""LeNet on MNIST by one learning rule: accuracy, time, spike rates as JSON.

    python -m benchmarks.mnist_lenet --learning-rule collapsed --epochs 10 \
        --data-dir DIR --output runs/lenet_mnist

DIR is a tensorflow-datasets directory with MNIST in it, e.g. one prepared by
`keras-snn import-data mnist SOURCE --data-dir DIR`. A run that was cut off
goes on when the command is given again.
"""

import argparse
import json
import os
import pathlib
import platform
import sys
import time

# Convolutions of few channels are several times faster this way on CPUs
# where TensorFlow does not choose it by itself.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import keras  # noqa: E402

import keras_snn as snn  # noqa: E402


def training_data(images, labels, batch_size, shift, seed):
    """Shuffled batches, every image moved by up to `shift` pixels."""
    import tensorflow as tf

    move = keras.layers.RandomTranslation(
        shift / images.shape[1],
        shift / images.shape[2],
        fill_mode="constant",
        interpolation="nearest",
        seed=seed,
    )
    data = tf.data.Dataset.from_tensor_slices((images, labels))
    data = data.shuffle(len(images), seed=seed).batch(batch_size)
    if shift:
        data = data.map(lambda x, y: (move(x, training=True), y))
    return data.prefetch(2)


def arguments(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--learning-rule", default="collapsed")
    parser.add_argument("--dtype", default="float32", help="policy of Keras")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--time-steps", type=int, default=25)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--shift", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, help="images used, for a try")
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--output", type=pathlib.Path, required=True)
    return parser.parse_args(argv)


def command(argv):
    """Return the command without the folders of this machine."""
    argv = list(argv)
    for option, name in (("--data-dir", "DIR"), ("--output", "OUTPUT")):
        if option in argv:
            argv[argv.index(option) + 1] = name
    return " ".join(["python -m benchmarks.mnist_lenet", *argv])


def main(argv=None):
    args = arguments(argv)
    args.output.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(args.seed)
    keras.config.set_dtype_policy(args.dtype)
    (x, y), (x_test, y_test) = snn.datasets.load("mnist", args.data_dir)
    x, y = x[: args.limit], y[: args.limit]
    model = snn.models.LeNet(
        time_steps=args.time_steps,
        learning_rule=args.learning_rule,
        seed=args.seed,
    )
    steps = args.epochs * -(-len(x) // args.batch_size)
    schedule = keras.optimizers.schedules.CosineDecay(args.learning_rate, steps)
    model.compile(
        keras.optimizers.Adam(schedule),
        snn.losses.SummedSquaredError(),
        metrics=["accuracy"],
    )
    history_file = args.output / "history.csv"
    started = time.time()
    model.fit(
        training_data(x, y, args.batch_size, args.shift, args.seed),
        epochs=args.epochs,
        validation_data=(x_test, y_test),
        validation_batch_size=250,
        verbose=2,
        callbacks=[
            keras.callbacks.BackupAndRestore(str(args.output / "backup")),
            keras.callbacks.CSVLogger(str(history_file), append=True),
            keras.callbacks.ModelCheckpoint(
                str(args.output / "best.keras"),
                monitor="val_accuracy",
                save_best_only=True,
            ),
        ],
    )
    seconds = time.time() - started
    model.save(args.output / "last.keras")
    rows = history_file.read_text().splitlines()
    names = rows[0].split(",")
    history = [dict(zip(names, map(float, r.split(",")))) for r in rows[1:]]
    result = {
        "command": command(sys.argv[1:] if argv is None else argv),
        "seed": args.seed,
        "test_accuracy_last_epoch": history[-1]["val_accuracy"],
        "test_accuracy_best_epoch": max(h["val_accuracy"] for h in history),
        "seconds_of_this_run": round(seconds, 1),
        "spike_rates": snn.models.spike_rates(model, x_test[:1000]),
        "history": history,
        "versions": {
            "keras": keras.__version__,
            "keras_snn": snn.__version__,
            "backend": keras.config.backend(),
            "python": platform.python_version(),
        },
    }
    path = args.output / "result.json"
    path.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps({k: v for k, v in result.items() if k != "history"}))


if __name__ == "__main__":
    main()
