"""What a trained spiking LeNet does on MNIST, and what it would cost.

    python examples/energy_report.py --data-dir DIR
    python examples/energy_report.py --smoke      # embedded digits, seconds

Prints the operations of each layer and the energy of one inference on several
devices, beside the same network as an ordinary one, and how early the answer
is known; draws spikes, potentials, accuracy against time and energy into
OUTPUT/report.png. DIR holds MNIST prepared by tensorflow-datasets; without it
the data set is downloaded. Expect 99.4 % after 25 steps.
"""

import argparse
import pathlib

import keras
import matplotlib

import keras_snn as snn

matplotlib.use("agg")
from matplotlib import pyplot  # noqa: E402

MODEL = pathlib.Path(__file__).parents[1] / "saved_models/lenet_mnist.keras"

parser = argparse.ArgumentParser()
parser.add_argument("--data-dir")
parser.add_argument("--model", default=str(MODEL))
parser.add_argument("--samples", type=int, default=1000)
parser.add_argument("--device", default="45nm-float32")
parser.add_argument("--output", default="saved_models/energy_report")
parser.add_argument("--smoke", action="store_true")
args = parser.parse_args()

keras.utils.set_random_seed(0)
if args.smoke:
    (x_train, y_train), (x_test, y_test) = snn.datasets.load("digits")
    model = snn.models.LeNet(
        input_shape=(8, 8, 1), time_steps=10, width=0.3, seed=0
    )
    snn.models.scale_to_rate(model, x_train[:64], rate=0.2)
    model.compile(keras.optimizers.Adam(5e-3), snn.losses.SummedSquaredError())
    model.fit(x_train, y_train, batch_size=64, epochs=5)
else:
    _, (x_test, y_test) = snn.datasets.load("mnist", data_dir=args.data_dir)
    model = snn.models.LeNet(weights=args.model)
x_test, y_test = x_test[: args.samples], y_test[: args.samples]

# Operations and energy, layer by layer; then where the numbers are from.
profile = snn.analysis.profile(model, x_test)
profile.summary(device=args.device)
snn.analysis.print_devices()

# Fewer steps cost less: how many does it take?
curve = snn.analysis.latency_curve(model, x_test, y_test)
print(f"test accuracy: {curve.accuracy[-1]:.2%}")
for fraction in (0.9, 0.99, 1.0):
    wanted = fraction * curve.accuracy[-1]
    step = curve.earliest(wanted) if wanted else None
    print(f"{fraction:.0%} of that is reached at step {step}")

# A few samples in full: spikes and membrane potentials of every layer.
recording = snn.analysis.record(model, x_test[:4])
layer = "fc1_lif"
active = recording.spikes[layer][0].sum(axis=0).argsort()[::-1]
plots = snn.analysis.plots
figure, axes = pyplot.subplots(3, 2, figsize=(12, 11), layout="constrained")
plots.raster(recording, "encoder", ax=axes[0, 0])
plots.raster(recording, layer, ax=axes[0, 1])
plots.membrane(recording, layer, neurons=active[5:8], ax=axes[1, 0])
plots.rate_bars(recording, ax=axes[1, 1])
curve.plot(ax=axes[2, 0])
profile.plot(args.device, ax=axes[2, 1])

output = pathlib.Path(args.output)
output.mkdir(parents=True, exist_ok=True)
figure.savefig(output / "report.png", dpi=100)
profile.to_json(output / "report.json")
print(f"report: {output / 'report.png'}, {output / 'report.json'}")
model.export(output)
