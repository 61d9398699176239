"""A compact network of today's design, for CPUs."""

from keras_snn.models import blocks
from keras_snn.models.builder import Defaults, make_builder

# Widths of the 3x3 convolutions of each group; the first one of a group pools.
GROUPS = ((64, 64), (256, 256), (256, 256))
STEM = 32


def _network(x, settings, include_top, classes):
    blocks.check_size(x, settings, 2 ** len(GROUPS), "SpikingCNN")
    names = "stem_conv", "stem_lif"
    x = blocks.spiking_convolution(x, STEM, 3, settings, names)
    for group, widths in enumerate(GROUPS, 1):
        for number, count in enumerate(widths, 1):
            names = [f"group{group}_{x}{number}" for x in ("conv", "lif")]
            pooled = f"group{group}_pool" if number == 1 else None
            x = blocks.spiking_convolution(x, count, 3, settings, names, pooled)
    return blocks.mean_top(x, classes, settings) if include_top else x


SpikingCNN = make_builder(
    "SpikingCNN",
    _network,
    "SpikingCNN: 32C3-[64C3-P-64C3]-[256C3-P-256C3]x2-10.\n\n"
    "    A compact network for CPUs: seven convolutions of 3x3, two million\n"
    "    weights, 0.3 billion operations (multiplications and additions) for\n"
    "    a step of a 32x32 image. The first convolution of a group is pooled,\n"
    "    and the mean over all places of the last spikes classified.",
    Defaults(paper=None),
    "the group layout of [Jordan, 2024](https://arxiv.org/abs/2404.00498)",
)
