"""What prepares images runs before the encoder, augmentation not at all."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_snn as snn
from keras_snn.network import kinds
from tests.conversion.networks import L, data, functional, network

convert = snn.conversion.convert
SHAPE = (8, 8, 3)
ENCODER = snn.layers.RepeatEncoder


def predict(model, x):
    return model.predict(x, verbose=0)


def pixels(samples=6, shape=SHAPE):
    return np.round(255 * data(samples, shape))


def behind(prepared):
    x = L.Conv2D(4, 3, activation="relu")(prepared)
    return L.Dense(3)(L.Flatten()(x))


def numbers_of_channels(x):
    normal = L.Normalization(mean=[100.0, 120, 90], variance=[900.0, 400, 50])
    return L.Rescaling([0.5, 1.0, 2.0])(normal(x))


PREPARED = {
    "divided": lambda x: x / 255.0,
    "shifted": lambda x: (x - 127.5) / 127.5,
    "inverted": lambda x: 1 - ops.cast(x, "float32") / 255,
    "caffe": keras.applications.vgg16.preprocess_input,
    "tf": keras.applications.mobilenet.preprocess_input,
    "torch": keras.applications.densenet.preprocess_input,
    "resized": lambda x: L.Rescaling(1 / 255)(L.Resizing(6, 5)(x)),
    "cropped": lambda x: L.Rescaling(1 / 255)(L.CenterCrop(6, 6)(x)),
    "numbers of channels": numbers_of_channels,
    "sliced": lambda x: x[:, 1:-1, ::2] / 255,
    "any function": lambda x: ops.sqrt(ops.image.resize(x, (5, 5)) / 255),
    "a Lambda": lambda x: L.Lambda(
        lambda y: y / 255, output_shape=SHAPE, name="by_255"
    )(x),
    "two paths": lambda x: L.Rescaling(1 / 255)(
        L.Concatenate()([x, ops.flip(x, 1)])
    ),
}


@pytest.mark.parametrize("case", PREPARED)
def test_what_prepares_images_runs_once_before_the_encoder(case):
    ann = functional(lambda x: behind(PREPARED[case](x)), SHAPE)
    x = pixels()
    model = convert(ann, x, "max", time_steps=64)
    (neuron,) = [y for y in model.layers if isinstance(y, snn.layers.IF)]
    # One layer of neurons: half a spike a neuron.
    kernel = ann.layers[-1].get_weights()[0]
    bound = np.abs(kernel).sum(0) * neuron.threshold / 128
    error = np.abs(predict(model, x) - predict(ann, x))
    assert np.all(error <= bound + 1e-4 * np.abs(predict(ann, x)).max())
    kinds = [type(node.layer) for node in model.network.nodes]
    at = kinds.index(ENCODER)
    looped = {type(node.layer) for node in model.network.loop}
    assert at > 1 and snn.layers.TimeFold in looped
    assert not any(y in looped for y in kinds[:at])


@pytest.mark.parametrize("case", ["caffe", "resized"])
def test_it_is_saved_streamed_and_counted(case, tmp_path):
    ann = functional(lambda x: behind(PREPARED[case](x)), SHAPE)
    x = pixels()
    model = convert(ann, x, "max", time_steps=4)
    expected = predict(model, x)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(predict(loaded, x), expected, rtol=1e-5)
    # A stream takes what follows the encoder: prepared frames.
    (encoder,) = [y for y in loaded.layers if isinstance(y, ENCODER)]
    frames = predict(keras.Model(loaded.input, encoder.input), x)
    step = snn.streaming(loaded)
    state = step.initial_state(len(x))
    for _ in range(4):
        scores, *state = step([frames, *state])
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-4)
    profile = snn.analysis.profile(loaded, x)
    assert profile.time_steps == 4
    rows = [row.kind for row in profile.layers]
    assert rows == ["RepeatEncoder", "Conv2D", "IF", "Dense", "MembraneReadout"]
    assert snn.conversion.report(ann, loaded, x).samples == len(x)


def test_it_needs_an_encoder():
    resizing = L.Resizing(6, 6, name="resizing")
    ann = functional(lambda x: behind(resizing(x)), SHAPE)
    with pytest.raises(ValueError, match="(?s)'resizing'.*Received: encoder="):
        convert(ann, pixels(), encoder=None, time_steps=4)


def test_a_scaling_runs_on_sequences_too():
    ann = functional(lambda x: behind(x / 255), SHAPE)
    x = pixels()
    model = convert(ann, x, "max", encoder=None, time_steps=5)
    once = convert(ann, x, "max", time_steps=5)
    sequence = np.repeat(x[:, None], 5, axis=1)
    np.testing.assert_allclose(
        predict(model, sequence), predict(once, x), rtol=1e-5, atol=1e-5
    )


def test_behind_the_first_weights_it_is_too_late():
    resizing = L.Resizing(4, 4, name="resizing")
    ann = functional(lambda x: behind(resizing(L.Conv2D(3, 3)(x))), SHAPE)
    with pytest.raises(ValueError, match="'resizing'.*directly after the inp"):
        convert(ann, pixels())


def test_functions_of_the_output_run_on_the_readout():
    def body(x):
        scores = behind(x / 255)
        return ops.sigmoid(ops.square(scores))

    ann, x = functional(body, SHAPE), pixels()
    model = convert(ann, x, "max", time_steps=256)
    np.testing.assert_allclose(predict(model, x), predict(ann, x), atol=0.02)


AUGMENTATION = {
    kind
    for kind in kinds.types("identity")
    if "image_preprocessing" in kind.__module__
}
ARGUMENTS = {
    L.RandomBrightness: (0.5,),
    L.RandomColorDegeneration: (0.5,),
    L.RandomContrast: (0.5,),
    L.RandomHue: (0.5,),
    L.RandomPosterization: (4,),
    L.RandomRotation: (0.3,),
    L.RandomSaturation: (0.5,),
    L.RandomSharpness: (0.5,),
    L.RandomShear: (0.3, 0.3),
    L.RandomTranslation: (0.3, 0.3),
    L.RandomZoom: (0.3,),
}


@pytest.mark.filterwarnings("ignore:.*requested dtype int64")
def test_augmentation_does_nothing_at_inference():
    x = pixels(2)
    assert len(AUGMENTATION) > 20
    for kind in AUGMENTATION:
        layer = kind(*ARGUMENTS.get(kind, ()))
        np.testing.assert_array_equal(layer(x, training=False), x)


def test_augmentation_is_left_out():
    ann = network(
        L.RandomFlip(),
        L.Rescaling(1 / 255),
        L.RandomContrast(0.5),
        L.Conv2D(4, 3, activation="relu"),
        L.Flatten(),
        L.Dense(3),
        shape=SHAPE,
    )
    x = pixels()
    model = convert(ann, x, "max", time_steps=256)
    found = {type(layer) for layer in model.layers}
    assert L.Rescaling in found
    assert not found & AUGMENTATION
    np.testing.assert_allclose(predict(model, x), predict(ann, x), atol=0.02)
    # A copy to train keeps it.
    quantized = snn.conversion.quantize(ann, 4, x)
    assert L.RandomFlip in {type(layer) for layer in quantized.layers}
