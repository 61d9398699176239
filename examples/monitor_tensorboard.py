"""Watch the layers of a deep network fall silent, and wake them up.

    python examples/monitor_tensorboard.py --data-dir DIR
    python examples/monitor_tensorboard.py --smoke    # embedded digits, seconds
    tensorboard --logdir saved_models/monitor_example/logs

With 6 time steps the last layers of VGG5 are silent as built. The monitor
warns of it before the first epoch. The second run follows its advice. In
TensorBoard compare the runs `as_built/spikes` and `scaled/spikes`: the curves
`spike_rate`, `silent` and `saturated` of each layer, the histograms of its
neurons' rates, and rasters of its spikes.

DIR holds MNIST prepared by tensorflow-datasets; without it the data set is
downloaded. As built, expect 72 % after the first epoch on MNIST; in the smoke
run the last layer then is silent still.
"""

import argparse
from pathlib import Path

import keras

import keras_snn as snn

parser = argparse.ArgumentParser()
parser.add_argument("--data-dir")
parser.add_argument("--epochs", type=int, default=3)
parser.add_argument("--output", default="saved_models/monitor_example")
parser.add_argument("--smoke", action="store_true")
args = parser.parse_args()

keras.utils.set_random_seed(0)
name = "digits" if args.smoke else "mnist"
train, test = snn.datasets.load(name, data_dir=args.data_dir)
(x_train, y_train), (x_test, y_test) = train, test
width = 1 / 4
if args.smoke:
    x_train, y_train, width = x_train[:512], y_train[:512], 1 / 8

for run in ("as_built", "scaled"):
    model = snn.models.VGG5(
        input_shape=x_train.shape[1:],
        time_steps=6,
        norm="none",  # with a normalization no layer would be silent
        width=width,
        seed=0,
    )
    if run == "scaled":
        snn.models.scale_to_rate(model, x_train[:64])
    model.compile(
        keras.optimizers.Adam(1e-3),
        snn.losses.SummedSquaredError(),
        metrics=["accuracy"],
    )
    history = model.fit(
        x_train,
        y_train,
        batch_size=64,
        epochs=args.epochs,
        validation_data=(x_test, y_test),
        callbacks=[
            keras.callbacks.TensorBoard(Path(args.output, "logs", run)),
            snn.callbacks.SpikeRateMonitor(x_test[:64], rasters=1),
        ],
        verbose=2,
    ).history
    print(
        f"{run}: silent in the last layer: {history['fc1_lif_silent'][-1]:.0%}"
    )

_, accuracy = model.evaluate(x_test, y_test, verbose=0)
print(f"test accuracy: {accuracy:.2%}")
model.export(args.output)
