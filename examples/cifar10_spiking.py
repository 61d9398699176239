"""A compact spiking network on CIFAR-10, at four time steps.

    python examples/cifar10_spiking.py --data-dir DIR --bfloat16
    python examples/cifar10_spiking.py --smoke            # seconds

DIR holds CIFAR-10 prepared by tensorflow-datasets; without it the data set
is downloaded. The network is trained with ReLUs first, which takes half the
time an epoch in bfloat16; the spiking network takes over its weights one to
one, and learns on by the rate rule, one backward pass for all steps, at a rate
that is low enough to keep what it has got: 90.0 % of the test images, after 52
and 64 minutes of processor time on two cores. `--bfloat16` halves the time on
processors that multiply bfloat16 in tiles (AMX), takes a quarter off the epochs
with ReLUs on those with AVX512-BF16, and makes it longer on others. The same in
one command, that goes on after a kill and saves a network of float32:

    keras-snn train --model SpikingCNN --dataset cifar10 \\
        --ann-epochs 20 --epochs 14 --dtype mixed_bfloat16
"""

import argparse

import keras
import numpy as np

import keras_snn as snn

parser = argparse.ArgumentParser()
parser.add_argument("--data-dir")
parser.add_argument("--output", default="saved_models/cifar10_spiking")
parser.add_argument("--ann-epochs", type=int, default=20)
parser.add_argument("--epochs", type=int, default=14)
parser.add_argument("--width", type=float, default=1.0)
parser.add_argument("--bfloat16", action="store_true")
parser.add_argument("--smoke", action="store_true")
args = parser.parse_args()

if args.bfloat16:
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
keras.utils.set_random_seed(0)
batch_size = 125
if args.smoke:
    rng = np.random.default_rng(0)
    x_train = rng.uniform(0, 1, (64, 32, 32, 3)).astype("float32")
    y_train = np.eye(10, dtype="float32")[rng.integers(0, 10, 64)]
    x_test, y_test = x_train[:32], y_train[:32]
    args.ann_epochs = args.epochs = 1
    args.width, batch_size = 1 / 16, 16
else:
    train, (x_test, y_test) = snn.datasets.load("cifar10", args.data_dir)
    x_train, y_train = train


def fit(network, epochs, rate):
    """Train a network, spiking or not, on shifted and mirrored images."""
    batches = snn.training.AugmentedBatches(x_train, y_train, batch_size)
    network.compile(
        snn.training.sgd(rate, epochs * len(batches)),
        snn.losses.CrossEntropy(label_smoothing=0.1),
        metrics=["accuracy"],
    )
    network.fit(batches, epochs=epochs, shuffle=False)
    _, accuracy = network.evaluate(x_test, y_test, verbose=0)
    return accuracy


ann = snn.models.SpikingCNN(spiking=False, width=args.width, seed=0)
accuracy = fit(ann, args.ann_epochs, 0.1)
print(f"the network with ReLUs: {accuracy:.2%}")

model = snn.models.SpikingCNN(width=args.width, seed=0)
model.set_weights(ann.get_weights())
accuracy = fit(model, args.epochs, 0.02)
print(f"test accuracy: {accuracy:.2%}")
for layer, rate in snn.models.spike_rates(model, x_test[:256]).items():
    print(f"{layer:20s} {rate:.3f} spikes a neuron and step")
model.export(args.output)
