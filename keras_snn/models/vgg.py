"""Spiking VGG networks, from 5 to 16 layers with weights."""

import dataclasses

from keras_snn.models import blocks
from keras_snn.models.builder import LEE, PAPER, Builder, Defaults, make_builder

# Widths of the 3x3 convolutions of each block; a pooling follows each block.
BLOCKS = {
    "VGG5": ((64,), (128, 128)),
    "VGG7": ((64, 64), (128, 128), (256,)),
    "VGG9": ((64, 64), (128, 128), (256, 256, 256)),
    "VGG11": ((64,), (128,), (256, 256), (512, 512), (512, 512)),
    "VGG16": ((64,) * 2, (128,) * 2, (256,) * 3, (512,) * 3, (512,) * 3),
}
BLOCKS["VGG8"] = BLOCKS["VGG9"]


def _network(name, hidden=None):
    """Return what builds the network.

    Args:
        name: Its name.
        hidden: Widths of the dense layers behind all places; None where the
            mean over all places is classified.
    """
    widths = BLOCKS[name]

    def vgg(x, settings, include_top, classes):
        blocks.check_size(x, settings, 2 ** len(widths), name)
        for block, filters in enumerate(widths, 1):
            for number, count in enumerate(filters, 1):
                names = [f"block{block}_{x}{number}" for x in ("conv", "lif")]
                last = number == len(filters)
                pooled = f"block{block}_pool" if last else None
                x = blocks.spiking_convolution(
                    x, count, 3, settings, names, pooled
                )
        if not include_top:
            return x
        if hidden is None:
            return blocks.mean_top(x, classes, settings)
        return blocks.top(x, hidden, classes, settings)

    return vgg


def _builder(
    name: str, layout: str, hidden: tuple[int, ...] = (1024,)
) -> Builder:
    return make_builder(
        name,
        _network(name, hidden),
        f"Spiking {name}: {layout}.",
        Defaults(paper=dataclasses.replace(PAPER, dropout=0.2)),
    )


VGG5 = _builder("VGG5", "64C3-P-[128C3]x2-P-1024-10")
VGG7 = _builder("VGG7", "[64C3]x2-P-[128C3]x2-P-256C3-P-1024-10")
VGG8 = make_builder(
    "VGG8",
    _network("VGG8"),
    "Spiking VGG8: [64C3]x2-P-[128C3]x2-P-[256C3]x3-P-10.\n\n"
    "    The convolutions of VGG9, whose layers it shares by name and shape,\n"
    "    without the hidden dense layer, which has two thirds of the weights:\n"
    "    the mean over all places of the last spikes is classified. 1.7\n"
    "    million weights.",
    Defaults(paper=None),
    f"{LEE}, for VGG9",
)
VGG9 = _builder("VGG9", "[64C3]x2-P-[128C3]x2-P-[256C3]x3-P-1024-10")
VGG11 = _builder(
    "VGG11",
    "64C3-P-128C3-P-[256C3]x2-P-[512C3]x2-P-[512C3]x2-P\n    -1024-1024-10",
    hidden=(1024, 1024),
)
VGG16 = make_builder(
    "VGG16",
    _network("VGG16", hidden=(512, 512)),
    "Spiking VGG16: 13 convolutions, batch normalisation over batch and\n"
    "    time and direct encoding, as in today's literature.",
    Defaults(paper=None),
    "[Zheng et al., 2021](https://arxiv.org/abs/2011.05280)",
)
