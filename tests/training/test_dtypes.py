"""Runs under another dtype policy, whose files compute in float32."""

import keras
import pytest

import keras_snn as snn
from keras_snn.training import evaluate, recipe, train

SMALL = {
    "width": 1 / 8,
    "epochs": 2,
    "ann_epochs": 1,
    "limit": 256,
    "norm": "weight",  # no statistics that would have to settle first
}


def small(**given):
    return recipe("vgg5", "digits", **{**SMALL, **given})


@pytest.mark.parametrize("split", [0.0, 0.25])
def test_what_is_saved_and_measured_computes_in_float32(split, tmp_path):
    before = keras.config.dtype_policy()
    settings = small(dtype="mixed_bfloat16", validation_split=split)
    result = train(settings, tmp_path)["result"]
    assert keras.config.dtype_policy() == before
    for name in ("ann", "best"):
        model = snn.models.load_model(tmp_path / f"{name}.keras")
        assert {x.compute_dtype for x in model.layers} == {"float32"}
        assert int(model.optimizer.iterations) > 0
    found = evaluate(tmp_path / "best.keras", limit=256)
    assert found["accuracy"] == result["best_epoch_test_accuracy"]
    assert found["spike_rates"].keys() == result["spike_rates"].keys()


def test_it_learns_in_it(tmp_path):
    runs = [
        train(small(dtype=dtype), tmp_path / dtype)["history"]["loss"]
        for dtype in ("float32", "mixed_bfloat16")
    ]
    assert runs[0] != runs[1] == pytest.approx(runs[0], rel=0.1)


def test_a_model_is_built_in_it_whatever_the_global_policy(
    mixed_bfloat16, tmp_path
):
    settings = small(epochs=1, ann_epochs=0, limit=32)
    train(settings, tmp_path)
    model = snn.models.load_model(tmp_path / "best.keras")
    _, *others = model.layers  # an InputLayer has none of its own
    assert {x.compute_dtype for x in others} == {"float32"}
    assert keras.config.dtype_policy().name == "mixed_bfloat16"


@pytest.mark.parametrize("dtype", ["float16", "mixed_float16", "bfloat16"])
def test_others_are_refused(dtype):
    with pytest.raises(ValueError, match="`dtype` must be one of float32"):
        small(dtype=dtype)
