"""Settings of all tests; they have to stand before TensorFlow's import."""

import os

# oneDNN sums a convolution in another order for another batch size, which
# moves potentials by a rounding error and now and then a spike across the
# threshold. Tests of equality want one order.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
