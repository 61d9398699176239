"""What VGG8 begins with: the layers that the published VGG9 has trained.

    python -m benchmarks.recipes.vgg8_start start.keras
    keras-snn train --model VGG8 --dataset cifar10 --data-dir DIR \\
        --from-ann start.keras --epochs 14 --learning-rate 0.04 --shift 3 \\
        --cutout 8 --validation-split 0.02 --seed 0 --output OUTPUT

DIR is written by `keras-snn import-data`, in the order of the published files:
then the second command holds out the images that were held out from VGG9, too.
The dense layer, which VGG9 has not, begins with random weights.
"""

import argparse
import pathlib

import keras_snn as snn

VGG9 = pathlib.Path(__file__).parents[2] / "saved_models" / "vgg9_cifar10.npz"


def begun():
    """Return the model."""
    model, trained = snn.models.VGG8(seed=0), snn.models.VGG9(weights=VGG9)
    # The last ones are the dense layer and the readout.
    for layer in model.layers[:-2]:
        if layer.weights:
            weights = trained.get_layer(layer.name).get_weights()
            layer.set_weights(weights)
    return model


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("file", type=pathlib.Path)
    begun().save(parser.parse_args().file)


if __name__ == "__main__":
    main()
