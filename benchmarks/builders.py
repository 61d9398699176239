"""How well each network learns as built, from few updates on CIFAR-10.

    python -m benchmarks.builders --data-dir DIR
    python -m benchmarks.builders --data-dir DIR --networks VGG9 ResNet11

A quarter of the channels, 400 updates of 125 shifted and mirrored images, the
builder's defaults, `CrossEntropy` and `sgd`: nothing is chosen on the test
images, which are looked at once at the end. Results go to
`results/builders.json`; what is in there already is not trained again.
"""

import argparse
import json
import pathlib
import time

NETWORKS = (
    *("VGG9", "VGG5", "VGG7", "VGG8", "VGG11", "VGG16"),
    *("ResNet7", "ResNet9", "ResNet11", "ResNet19"),
    *("SpikingCNN", "SEWResNet18"),
)
RESULTS = pathlib.Path(__file__).parent / "results" / "builders.json"


def train(name, data, args):
    """Return what one network reaches."""
    import keras

    import keras_snn as snn
    from keras_snn.training.records import versions

    keras.utils.set_random_seed(args.seed)
    (x, y), (x_test, y_test) = data
    model = getattr(snn.models, name)(width=args.width, seed=args.seed)
    model.compile(
        snn.training.sgd(args.rate, args.updates),
        snn.losses.CrossEntropy(label_smoothing=0.1),
        metrics=["accuracy"],
    )
    batches = snn.training.AugmentedBatches(x, y, 125, seed=args.seed)
    start = time.perf_counter()
    history = model.fit(
        batches, steps_per_epoch=args.updates, shuffle=False, verbose=2
    )
    seconds = time.perf_counter() - start
    _, accuracy = model.evaluate(x_test, y_test, 250, verbose=0)
    return {
        "test_accuracy": float(accuracy),
        "train_accuracy": float(history.history["accuracy"][-1]),
        "seconds": seconds,
        "parameters": model.count_params(),
        "time_steps": model.get_layer("encoder").time_steps,
        "updates": args.updates,
        "width": args.width,
        "rate": args.rate,
        "seed": args.seed,
        "spike_rates": snn.models.spike_rates(model, x_test[:250]),
        "versions": versions(),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data-dir")
    parser.add_argument("--networks", nargs="+", default=NETWORKS)
    parser.add_argument("--width", type=float, default=0.25)
    parser.add_argument("--updates", type=int, default=400)
    parser.add_argument("--rate", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=pathlib.Path, default=RESULTS)
    args = parser.parse_args()

    import keras_snn as snn

    results = {}
    if args.output.exists():
        results = json.loads(args.output.read_text())
    data = snn.datasets.load("cifar10", args.data_dir)
    for name in args.networks:
        if name in results:
            continue
        results[name] = train(name, data, args)
        print(f"{name}: {results[name]['test_accuracy']:.2%}", flush=True)
        args.output.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
