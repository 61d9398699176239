"""The paper's VGG9 on CIFAR-10: minutes at small size, or the whole recipe.

    python examples/cifar10_vgg9.py --data-dir DIR           # minutes, CPU
    python examples/cifar10_vgg9.py --data-dir DIR --paper   # the full recipe
    python examples/cifar10_vgg9.py --smoke                  # seconds

DIR holds CIFAR-10 prepared by tensorflow-datasets; without it the data set
is downloaded. The small run (a quarter of the channels, 10,000 images, T =
15) is well above chance (10 %) after its first epoch. `--paper` trains the
whole network with the published settings, T = 100 and 150 epochs, for which
the authors report 90.45 %; give it a GPU or much time.
"""

import argparse

import keras
import numpy as np

import keras_snn as snn

parser = argparse.ArgumentParser()
parser.add_argument("--data-dir")
parser.add_argument("--output", default="saved_models/cifar10_vgg9")
parser.add_argument("--paper", action="store_true")
parser.add_argument("--smoke", action="store_true")
args = parser.parse_args()

keras.utils.set_random_seed(0)
if args.smoke:
    rng = np.random.default_rng(0)
    x_train = rng.uniform(-1, 1, (64, 32, 32, 3)).astype("float32")
    y_train = np.eye(10, dtype="float32")[rng.integers(0, 10, 64)]
    x_test, y_test = x_train[:32], y_train[:32]
    data = {"x": x_train, "y": y_train, "batch_size": 16}
    settings = {"time_steps": 3, "width": 1 / 16}
    epochs, optimizer = 1, keras.optimizers.Adam(1e-3)
elif args.paper:
    (_, _), (x_test, y_test) = snn.datasets.load("cifar10", args.data_dir)
    # Random crops and flips, batches of 16.
    batches = snn.datasets.load_tf(
        "cifar10", "train", 16, args.data_dir, seed=0
    )
    data = {"x": batches}
    settings = {"time_steps": 100}
    epochs = 150
    steps = [epoch * len(batches) for epoch in (70, 100, 125)]
    rates = [0.0033 * 0.2**k for k in range(4)]
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay(steps, rates)
    optimizer = keras.optimizers.SGD(schedule, weight_decay=5e-4)
else:
    train, (x_test, y_test) = snn.datasets.load("cifar10", args.data_dir)
    data = {"x": train[0][:10000], "y": train[1][:10000], "batch_size": 32}
    x_test, y_test = x_test[:2000], y_test[:2000]
    settings = {"time_steps": 15, "width": 1 / 4, "dropout": 0.0}
    epochs, optimizer = 4, keras.optimizers.Adam(1e-3)

# By the paper's rule it is the paper's network; without arguments it would be
# one for few steps, see cifar10_spiking.py.
model = snn.models.VGG9(learning_rule="collapsed", seed=0, **settings)
model.summary()
if not args.paper:
    # With few time steps the deep layers would be silent at first.
    snn.models.scale_to_rate(model, x_test[:32])
model.compile(optimizer, snn.losses.SummedSquaredError(), metrics=["accuracy"])
model.fit(
    **data,
    epochs=epochs,
    validation_data=(x_test, y_test),
    callbacks=[keras.callbacks.BackupAndRestore(f"{args.output}.backup")],
)
_, accuracy = model.evaluate(x_test, y_test, verbose=0)
print(f"test accuracy: {accuracy:.2%}")
for layer, rate in snn.models.spike_rates(model, x_test[:256]).items():
    print(f"{layer:20s} {rate:.3f} spikes a neuron and step")
model.export(args.output)
