"""Put a run of `benchmarks.mnist_lenet` into `saved_models/`, with its card.

python -m benchmarks.publish_lenet runs/lenet_mnist --data-dir DIR
"""

import argparse
import json
import pathlib

import keras
import numpy as np

import keras_snn as snn

CARD = """# lenet_mnist.keras

Spiking LeNet (20C5-P-50C5-P-200-10, {parameters:,} weights, no biases) for
28x28 grey images of handwritten digits in [0, 1], trained on MNIST by the
collapsed rule with T = 25 Poisson-coded time steps.

| | |
|---|---|
| test accuracy, last of {epochs} epochs | {last:.2%} |
| test accuracy, best epoch (this file) | {best:.2%} |
| this file, three passes over the test set (new noise each) | {passes} |
| seed | {seed} |
| file | {size:.2f} MB, without optimizer state |

The best epoch was chosen on the test set, so its accuracy is a little
optimistic; the last epoch's is not chosen. Weights as trained:

```sh
{command}
```

```python
import keras_snn as snn

model = snn.models.LeNet(weights="saved_models/lenet_mnist.keras")
```

```sh
keras-snn evaluate saved_models/lenet_mnist.keras --dataset mnist
```

| layer | spikes a neuron and step |
|---|---|
{rates}

| epoch | train accuracy | test accuracy |
|---|---|---|
{history}

Trained with keras {keras}. The MNIST database: Y. LeCun, L. Bottou, Y. Bengio,
P. Haffner, "Gradient-based learning applied to document recognition",
Proceedings of the IEEE 86(11):2278-2324, 1998.
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("run", type=pathlib.Path)
    parser.add_argument("--data-dir")
    args = parser.parse_args()
    folder = pathlib.Path(__file__).parents[1] / "saved_models"
    target = folder / "lenet_mnist.keras"
    result = json.loads((args.run / "result.json").read_text())
    model = keras.models.load_model(args.run / "best.keras", compile=False)
    model.save(target)
    _, (x, y) = snn.datasets.load("mnist", args.data_dir)
    passes = [
        np.mean(
            model.predict(x, batch_size=250, verbose=0).argmax(-1)
            == y.argmax(-1)
        )
        for _ in range(3)
    ]
    card = CARD.format(
        parameters=model.count_params(),
        epochs=len(result["history"]),
        last=result["test_accuracy_last_epoch"],
        best=result["test_accuracy_best_epoch"],
        passes=", ".join(f"{p:.2%}" for p in passes),
        seed=result["seed"],
        size=target.stat().st_size / 1e6,
        command=result["command"],
        rates="\n".join(
            f"| {name} | {rate:.4f} |"
            for name, rate in snn.models.spike_rates(model, x[:1000]).items()
        ),
        history="\n".join(
            f"| {int(h['epoch']) + 1} | {h['accuracy']:.2%} "
            f"| {h['val_accuracy']:.2%} |"
            for h in result["history"]
        ),
        keras=result["versions"]["keras"],
    )
    target.with_suffix(".md").write_text(card)
    print(card)


if __name__ == "__main__":
    main()
