"""LeNet on MNIST, spike-trained, from images to SavedModel.

    python examples/mnist_lenet.py --data-dir DIR
    python examples/mnist_lenet.py --smoke        # embedded digits, seconds

DIR holds MNIST prepared by tensorflow-datasets; without it the data set is
downloaded. Expect about 99 % after five epochs, some minutes each on a
laptop's CPU.
"""

import argparse

import keras

import keras_snn as snn

parser = argparse.ArgumentParser()
parser.add_argument("--data-dir")
parser.add_argument("--epochs", type=int, default=5)
parser.add_argument("--output", default="saved_models/mnist_lenet_example")
parser.add_argument("--smoke", action="store_true")
args = parser.parse_args()

keras.utils.set_random_seed(0)
name = "digits" if args.smoke else "mnist"
train, test = snn.datasets.load(name, data_dir=args.data_dir)
(x_train, y_train), (x_test, y_test) = train, test
if args.smoke:
    x_train, y_train, args.epochs = x_train[:512], y_train[:512], 2

model = snn.models.LeNet(input_shape=x_train.shape[1:], time_steps=25, seed=0)
model.summary()
model.compile(
    keras.optimizers.Adam(1e-3),
    snn.losses.SummedSquaredError(),
    metrics=["accuracy"],
)
model.fit(
    x_train,
    y_train,
    batch_size=64,
    epochs=args.epochs,
    validation_data=(x_test, y_test),
)
_, accuracy = model.evaluate(x_test, y_test, verbose=0)
print(f"test accuracy: {accuracy:.2%}")
for layer, rate in snn.models.spike_rates(model, x_test[:500]).items():
    print(f"{layer:20s} {rate:.3f} spikes a neuron and step")
model.export(args.output)
