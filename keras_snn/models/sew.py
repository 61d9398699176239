"""Spiking residual networks that add spikes: SEW-ResNet."""

import keras

from keras_snn.models import blocks
from keras_snn.models.builder import Defaults, make_builder

# Width and first stride of each of four stages of two blocks.
STAGES = ((64, 1), (128, 2), (256, 2), (512, 2))
# From this side on the stem is that for ImageNet.
LARGE = 128


def _stem(x, settings):
    """A 3x3 convolution; for large images 7x7 and two halvings."""
    is_large = min(settings.spatial(x)) >= LARGE
    size, strides, pooled = (7, 2, "stem_pool") if is_large else (3, 1, None)
    x = blocks.convolution(x, 64, size, settings, "stem_conv", strides, pooled)
    return blocks.spiking(x, settings, "stem_lif")


def _block(x, filters, settings, name, strides):
    """Two convolutions with neurons each, whose spikes join the input's."""
    y = x
    for number, stride in ((1, strides), (2, 1)):
        y = blocks.convolution(
            y, filters, 3, settings, f"{name}_conv{number}", stride
        )
        y = blocks.spiking(y, settings, f"{name}_lif{number}")
    if strides > 1 or x.shape[-1] != y.shape[-1]:
        x = blocks.convolution(
            x, filters, 1, settings, f"{name}_shortcut", strides
        )
        x = blocks.spiking(x, settings, f"{name}_shortcut_lif")
    return keras.layers.Add(name=f"{name}_add")([y, x])


def _network(x, settings, include_top, classes):
    blocks.check_size(x, settings, 8, "SEWResNet18")
    x = _stem(x, settings)
    for stage, (filters, strides) in enumerate(STAGES, 1):
        for number in (1, 2):
            name = f"stage{stage}_block{number}"
            stride = strides if number == 1 else 1
            x = _block(x, filters, settings, name, stride)
    return blocks.mean_top(x, classes, settings) if include_top else x


SEWResNet18 = make_builder(
    "SEWResNet18",
    _network,
    "Spiking SEWResNet18: a ResNet18 that adds spikes element by element.\n\n"
    "    A block's output is the sum of its spikes and its input's, so that a\n"
    "    block that is silent passes on what it got. The stem is a 3x3\n"
    "    convolution, or for images of 128 pixels and more 7x7 at stride 2\n"
    "    and a pooling, as for ImageNet.",
    Defaults(paper=None),
    '[Fang et al., 2021](https://arxiv.org/abs/2102.04159), "Deep Residual\n'
    '          Learning in Spiking Neural Networks"',
)
