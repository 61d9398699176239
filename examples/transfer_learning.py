"""From CIFAR-10 to handwritten digits: the trained network's spikes classify.

    python examples/transfer_learning.py
    python examples/transfer_learning.py --smoke   # seconds

The convolutions of `SpikingCNN(weights="cifar10")` stay as they are; a dense
layer and a readout behind them learn the 8x8 digits of scikit-learn, enlarged
to 32x32. Expect some 95 % after half a minute on two cores.
"""

import argparse

import keras
import numpy as np

import keras_snn as snn

parser = argparse.ArgumentParser()
parser.add_argument("--output", default="saved_models/transfer_learning")
parser.add_argument("--epochs", type=int, default=30)
parser.add_argument("--limit", type=int, help="images of each set")
parser.add_argument("--smoke", action="store_true")
args = parser.parse_args()
if args.smoke:
    args.epochs, args.limit = 3, 64

keras.utils.set_random_seed(0)
(x_train, y_train), (x_test, y_test) = snn.datasets.load("digits")


def as_photographs(x):
    """Return grey 8x8 images as 32x32 ones of three colours, in -0.9..0.9."""
    x = np.repeat(1.8 * x[: args.limit] - 0.9, 3, axis=-1)
    return keras.ops.convert_to_numpy(keras.ops.image.resize(x, (32, 32)))


x_train, x_test = as_photographs(x_train), as_photographs(x_test)
y_train, y_test = y_train[: args.limit], y_test[: args.limit]

base = snn.models.SpikingCNN(weights="cifar10", include_top=False)
base.trainable = False
s = snn.layers.TimeFold(keras.layers.AveragePooling2D(2))(base.output)
s = snn.layers.TimeFold(keras.layers.Flatten())(s)
features = snn.Model(base.input, snn.layers.MembraneReadout(beta=1.0)(s))

# What is frozen need be computed but once.
top = keras.Sequential([keras.layers.Dense(10)])
top.compile(
    keras.optimizers.Adam(1e-2),
    snn.losses.CrossEntropy(),
    metrics=["accuracy"],
)
top.fit(
    features.predict(x_train, 125, verbose=0),
    y_train,
    epochs=args.epochs,
    verbose=2,
)

# Both in one network, which sees one step after the other.
dense = keras.layers.Dense(10)
x = snn.layers.TimeFold(dense)(s)
model = snn.Model(base.input, snn.layers.MembraneReadout(beta=1.0)(x))
dense.set_weights(top.layers[0].get_weights())
model.compile(loss=snn.losses.CrossEntropy(), metrics=["accuracy"])
_, accuracy = model.evaluate(x_test, y_test, 125, verbose=0)
print(f"test accuracy: {accuracy:.1%}")
model.export(args.output, verbose=False)
