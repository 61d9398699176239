"""An ordinary CNN on MNIST becomes a spiking one, twice.

    python examples/convert_ann.py --data-dir DIR
    python examples/convert_ann.py --smoke        # embedded digits, seconds

DIR holds MNIST prepared by tensorflow-datasets; without it the data set is
downloaded. First the trained network itself is converted, which needs some
dozens of time steps; then a copy of it that was trained for two more epochs
with quantised activations, which needs about eight. Expect about 99 % from
both, in some minutes on a laptop's CPU.
"""

import argparse

import keras

import keras_snn as snn

parser = argparse.ArgumentParser()
parser.add_argument("--data-dir")
parser.add_argument("--epochs", type=int, default=2)
parser.add_argument("--images", type=int, default=1000, help="of the test set")
parser.add_argument("--output", default="saved_models/converted_example")
parser.add_argument("--smoke", action="store_true")
args = parser.parse_args()

keras.utils.set_random_seed(0)
name = "digits" if args.smoke else "mnist"
train, test = snn.datasets.load(name, data_dir=args.data_dir)
(x_train, y_train), (x_test, y_test) = train, test
x_test, y_test = x_test[: args.images], y_test[: args.images]
if args.smoke:
    x_test, y_test, args.epochs = x_test[:100], y_test[:100], 8


def fit(network, learning_rate, epochs):
    """Train an ordinary network; print its accuracy."""
    network.compile(
        keras.optimizers.Adam(learning_rate),
        "categorical_crossentropy",
        metrics=["accuracy"],
    )
    network.fit(x_train, y_train, batch_size=64, epochs=epochs, verbose=2)
    _, accuracy = network.evaluate(x_test, y_test, verbose=0)
    print(f"accuracy of '{network.name}': {accuracy:.2%}")


def accuracy_of(network, time_steps, **options):
    """Return the accuracy of the converted network, and the network."""
    model = snn.conversion.convert(
        network, x_train[:512], time_steps=time_steps, **options
    )
    model.compile(loss="categorical_crossentropy", metrics=["accuracy"])
    _, accuracy = model.evaluate(x_test, y_test, verbose=0)
    return accuracy, model


ann = keras.Sequential(
    [
        keras.Input(x_train.shape[1:]),
        keras.layers.Conv2D(32, 3, padding="same", use_bias=False),
        keras.layers.BatchNormalization(),
        keras.layers.ReLU(),
        keras.layers.MaxPooling2D(),
        keras.layers.Conv2D(64, 3, padding="same", activation="relu"),
        keras.layers.AveragePooling2D(2),
        keras.layers.Flatten(),
        keras.layers.Dropout(0.25),
        keras.layers.Dense(10, activation="softmax"),
    ],
    name="cnn",
)
fit(ann, 1e-3, args.epochs)
for time_steps in (4, 16) if args.smoke else (8, 32, 128):
    accuracy, model = accuracy_of(ann, time_steps)
    print(f"T = {time_steps:3d}: {accuracy:.2%}")
snn.conversion.report(ann, model, x_test[:100]).summary()

quantized = snn.conversion.quantize(ann, 8, x_train[:512])
fit(quantized, 5e-4, args.epochs)
for time_steps in (8,) if args.smoke else (4, 8, 16):
    accuracy, model = accuracy_of(quantized, time_steps, method="qcfs")
    print(f"T = {time_steps:3d}: {accuracy:.2%}")
print(f"test accuracy: {accuracy:.2%}")
model.export(args.output)
