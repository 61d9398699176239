"""The paper's question: what does training with spikes save?

    python examples/inference_study.py --data-dir DIR
    python examples/inference_study.py --smoke        # embedded digits

DIR holds MNIST prepared by tensorflow-datasets; without it the data set is
downloaded. A spike-trained LeNet runs beside its ordinary twin, which is
trained with ReLU and converted: accuracy against time steps, spikes, and the
energy of one inference at equal accuracy. The same as
`keras-snn study --model lenet --dataset mnist`.
"""

import argparse

from keras_snn.study import reporting, study
from keras_snn.training import recipe

parser = argparse.ArgumentParser()
parser.add_argument("--data-dir")
parser.add_argument("--epochs", type=int, default=2)
parser.add_argument("--images", type=int, default=1000, help="of the test set")
parser.add_argument("--weights", help="a trained spiking LeNet, .keras")
parser.add_argument("--output", default="runs/study_example")
parser.add_argument("--smoke", action="store_true")
args = parser.parse_args()

options = {"epochs": args.epochs, "optimizer": "adam", "cosine": True}
most_steps = 256
if args.smoke:
    args.images, most_steps = 60, 16
    options.update(limit=256, time_steps=6, width=0.2)
settings = recipe("lenet", "digits" if args.smoke else "mnist", **options)

result = study(
    settings,
    args.output,
    data_dir=args.data_dir,
    weights=args.weights,
    most_steps=most_steps,
    images=args.images,
)
print(reporting.markdown(result))

compared = result["comparison"]["iso-accuracy"]
print(
    "Converted over spike-trained, at the same accuracy: time steps "
    f"{reporting.times(compared['speed_up'])}, "
    f"spikes {reporting.times(compared['spikes_ratio'])}, "
    f"energy {reporting.times(compared['energy_ratio'])}"
)
print(f"test accuracy: {result['curves']['spike-trained']['accuracy'][-1]:.2%}")
