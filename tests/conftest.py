"""Settings of all tests; they have to stand before TensorFlow's import."""

import os

import pytest

# oneDNN sums a convolution in another order for another batch size, which
# moves potentials by a rounding error and now and then a spike across the
# threshold. Tests of equality want one order.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


ENGINES = ["dense"]
if os.environ.get("KERAS_BACKEND", "tensorflow") == "tensorflow":
    ENGINES.append("event_driven")


@pytest.fixture(params=ENGINES)
def engine(request, monkeypatch):
    """Run a test with dense products, then event by event."""
    from keras_snn.event_driven import switch

    monkeypatch.setattr(switch, "_choice", request.param == "event_driven")
    return request.param


@pytest.fixture
def mixed_bfloat16():
    """Make layers compute in bfloat16, with float32 weights."""
    import keras

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    yield
    keras.config.set_dtype_policy(before)
