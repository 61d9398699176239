"""Spiking residual networks, from 7 to 19 layers with weights."""

import dataclasses

import keras

from keras_snn.models import blocks
from keras_snn.models.builder import PAPER, Builder, Defaults, make_builder

# Width and stride of each residual block; the stride is its last
# convolution's, as in the authors' program.
BLOCKS = {
    "ResNet7": ((128, 2), (256, 2)),
    "ResNet9": ((128, 1), (256, 2), (512, 2)),
    "ResNet11": ((128, 1), (256, 2), (512, 1), (512, 2)),
}


def _shortcut(x, filters, strides, settings, name):
    """1x1 convolution where the width changes, else plain subsampling."""
    if x.shape[-1] != settings.channels(filters):
        return blocks.convolution(x, filters, 1, settings, name, strides)
    if strides == 1:
        return x
    subsample = blocks.of_images(
        keras.layers.AveragePooling2D, 1, strides, name=name
    )
    return settings.at_each_step(subsample)(x)


def _block(x, filters, settings, name, strides, strided=2):
    """Two convolutions; both paths' currents meet in one LIF layer.

    Args:
        strided: Which of the two convolutions has the stride.
    """
    y = blocks.convolution(
        x,
        filters,
        3,
        settings,
        f"{name}_conv1",
        strides if strided == 1 else 1,
    )
    y = blocks.spiking(y, settings, f"{name}_lif1")
    y = blocks.convolution(
        y,
        filters,
        3,
        settings,
        f"{name}_conv2",
        strides if strided == 2 else 1,
    )
    x = _shortcut(x, filters, strides, settings, f"{name}_shortcut")
    y = keras.layers.Add(name=f"{name}_add")([y, x])
    return blocks.spiking(y, settings, f"{name}_lif2")


def _network(name):
    def resnet(x, settings, include_top, classes):
        halvings = 1 + sum(strides == 2 for _, strides in BLOCKS[name])
        blocks.check_size(x, settings, 2**halvings, name)
        names = "block1_conv1", "block1_lif1"
        x = blocks.spiking_convolution(x, 64, 3, settings, names, "block1_pool")
        for number, (filters, strides) in enumerate(BLOCKS[name], 2):
            x = _block(x, filters, settings, f"block{number}", strides)
        return blocks.top(x, (1024,), classes, settings) if include_top else x

    return resnet


def _resnet19(x, settings, include_top, classes):
    blocks.check_size(x, settings, 4, "ResNet19")
    x = blocks.convolution(x, 128, 3, settings, "block1_conv1")
    x = blocks.spiking(x, settings, "block1_lif1")
    stages = (
        ((128, 1),) * 3
        + ((256, 2), (256, 1), (256, 1))
        + (
            (512, 2),
            (512, 1),
        )
    )
    for number, (filters, strides) in enumerate(stages, 2):
        x = _block(x, filters, settings, f"block{number}", strides, strided=1)
    if not include_top:
        return x
    pool = blocks.of_images(
        keras.layers.GlobalAveragePooling2D, keepdims=True, name="pool"
    )
    x = settings.at_each_step(pool)(x)
    return blocks.top(x, (256,), classes, settings)


def _builder(name: str, layout: str) -> Builder:
    return make_builder(
        name,
        _network(name),
        f"Spiking {name}: {layout}.",
        Defaults(paper=dataclasses.replace(PAPER, dropout=0.25), gain=1.0),
    )


ResNet7 = _builder("ResNet7", "64C3-P-[128 128/2]-[256 256/2]-1024-10")
ResNet9 = _builder(
    "ResNet9", "64C3-P-[128 128]-[256 256/2]-[512 512/2]-1024-10"
)
ResNet11 = _builder(
    "ResNet11",
    "64C3-P-[128 128]-[256 256/2]-[512 512]-[512 512/2]-1024-10",
)
ResNet19 = make_builder(
    "ResNet19",
    _resnet19,
    "Spiking ResNet19 with batch normalisation over batch and time.\n\n"
    "    128C3, three blocks of 128, three of 256, two of 512, 256-10;\n"
    "    direct encoding, as in today's literature.",
    Defaults(paper=None),
    "[Zheng et al., 2021](https://arxiv.org/abs/2011.05280)",
)
