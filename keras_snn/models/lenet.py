"""LeNet, the paper's network for MNIST."""

from keras_snn.models import blocks
from keras_snn.models.builder import PAPER, Defaults, make_builder


def _lenet(x, settings, include_top, classes):
    blocks.check_size(x, settings, 4, "LeNet")
    for block, filters in enumerate((20, 50), 1):
        name = f"block{block}"
        names = f"{name}_conv1", f"{name}_lif1"
        x = blocks.spiking_convolution(
            x, filters, 5, settings, names, f"{name}_pool"
        )
    if include_top:
        x = blocks.top(x, (200,), classes, settings)
    return x


LeNet = make_builder(
    "LeNet",
    _lenet,
    "Spiking LeNet: 20C5-P-50C5-P-200-10.",
    Defaults(input_shape=(28, 28, 1), setup=PAPER),
)
