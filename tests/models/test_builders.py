"""Each network is the one its paper's architecture string says."""

import math
import re

import keras
import numpy as np
import pytest

from keras_snn import layers, models, rules
from tests.helpers import channels_first

BUILDERS = [name for name in models.__all__ if re.search(r"\d|LeNet|CNN", name)]
# The paper's networks, and those that no paper has without normalization.
TODAYS = ["VGG8", "VGG16", "ResNet19", "SEWResNet18", "SpikingCNN"]
PAPERS = [name for name in BUILDERS if name not in TODAYS]

# Kernels in forward order, from the strings 20C5-P-50C5-P-200-10,
# 64C3 64C3 P 128C3 128C3 P 256C3 256C3 256C3 P 1024-10 and
# 64C3 P [128 128] [256 256/2] [512 512] [512 512/2] 1024-10, for images of
# 28x28x1 and 32x32x3. Each shortcut follows its block's convolutions.
KERNELS = {
    "LeNet": [(5, 5, 1, 20), (5, 5, 20, 50), (7 * 7 * 50, 200), (200, 10)],
    "VGG5": [
        *[(3, 3, 3, 64), (3, 3, 64, 128), (3, 3, 128, 128)],
        *[(8 * 8 * 128, 1024), (1024, 10)],
    ],
    "VGG7": [
        *[(3, 3, 3, 64), (3, 3, 64, 64), (3, 3, 64, 128), (3, 3, 128, 128)],
        *[(3, 3, 128, 256), (4 * 4 * 256, 1024), (1024, 10)],
    ],
    "VGG9": [
        *[(3, 3, 3, 64), (3, 3, 64, 64), (3, 3, 64, 128), (3, 3, 128, 128)],
        *[(3, 3, 128, 256), (3, 3, 256, 256), (3, 3, 256, 256)],
        *[(4 * 4 * 256, 1024), (1024, 10)],
    ],
    "ResNet7": [
        (3, 3, 3, 64),
        *[(3, 3, 64, 128), (3, 3, 128, 128), (1, 1, 64, 128)],
        *[(3, 3, 128, 256), (3, 3, 256, 256), (1, 1, 128, 256)],
        *[(4 * 4 * 256, 1024), (1024, 10)],
    ],
    "ResNet9": [
        (3, 3, 3, 64),
        *[(3, 3, 64, 128), (3, 3, 128, 128), (1, 1, 64, 128)],
        *[(3, 3, 128, 256), (3, 3, 256, 256), (1, 1, 128, 256)],
        *[(3, 3, 256, 512), (3, 3, 512, 512), (1, 1, 256, 512)],
        *[(4 * 4 * 512, 1024), (1024, 10)],
    ],
    # The fourth block keeps its width: its shortcut has no weights.
    "ResNet11": [
        (3, 3, 3, 64),
        *[(3, 3, 64, 128), (3, 3, 128, 128), (1, 1, 64, 128)],
        *[(3, 3, 128, 256), (3, 3, 256, 256), (1, 1, 128, 256)],
        *[(3, 3, 256, 512), (3, 3, 512, 512), (1, 1, 256, 512)],
        *[(3, 3, 512, 512), (3, 3, 512, 512)],
        *[(4 * 4 * 512, 1024), (1024, 10)],
    ],
}
PUBLISHED_DROPOUT = {
    "LeNet": [],
    **{name: [0.2] for name in PAPERS if "VGG" in name},
    **{name: [0.25] for name in ("ResNet7", "ResNet9", "ResNet11")},
}


def dropout_rates(model):
    dropouts = [
        x for x in model.layers if isinstance(x, layers.TimeConstantDropout)
    ]
    return [x.rate for x in dropouts]


def builder(name, **kwargs):
    """Build a network with few channels, or as `kwargs` say."""
    return getattr(models, name)(**{"width": 1 / 16, **kwargs})


def kernels(model):
    return [w for w in model.weights if w.path.endswith("kernel")]


@pytest.fixture
def zero_weights(monkeypatch):
    """Spare JAX a program for each shape of weights, where none matters."""
    monkeypatch.setattr(
        keras.initializers.VarianceScaling,
        "__call__",
        lambda self, shape, dtype=None: np.zeros(shape, "float32"),
    )


structure = pytest.mark.usefixtures("zero_weights")


@structure
@pytest.mark.parametrize("name", KERNELS)
def test_kernels_are_those_of_the_architecture(name):
    model = builder(name, width=1.0)
    assert [tuple(w.shape) for w in kernels(model)] == KERNELS[name]
    model = builder(name, width=1.0, norm="none")
    assert [tuple(w.shape) for w in model.weights] == KERNELS[name]
    assert model.output_shape == (None, 10)


@structure
@pytest.mark.parametrize("name", BUILDERS)
def test_the_number_in_the_name_counts_layers_with_weights(name):
    weighted = [w for w in kernels(builder(name)) if "shortcut" not in w.path]
    assert len(weighted) == int(
        re.sub(r"\D", "", name) or {"LeNet": 4, "SpikingCNN": 8}[name]
    )


@structure
@pytest.mark.parametrize(
    "name, side, channels",
    [("LeNet", 7, 50), ("VGG5", 8, 128), ("VGG9", 4, 256), ("VGG11", 1, 512)]
    + [("VGG16", 1, 512), ("ResNet7", 4, 256), ("ResNet11", 4, 512)]
    + [("ResNet19", 8, 512), ("SpikingCNN", 4, 256), ("VGG8", 4, 256)],
)
def test_without_top_the_last_blocks_spikes_are_returned(name, side, channels):
    model = builder(name, include_top=False, width=1 / 2, time_steps=3)
    assert model.output_shape == (None, 3, side, side, channels // 2)
    last = model.layers[-1]
    assert isinstance(last, (layers.LIF, layers.TimeConstantDropout))


@structure
def test_layers_of_vgg8_take_the_weights_of_vgg9():
    vgg8, vgg9 = builder("VGG8"), builder("VGG9")
    shapes = [[w.shape for w in x.weights] for x in (vgg8, vgg9)]
    assert shapes[0][:-1] == shapes[1][: len(shapes[0]) - 1]
    names = [[x.name for x in net.layers] for net in (vgg8, vgg9)]
    at = names[0].index("block3_lif3")
    assert names[0][: at + 1] == names[1][: at + 1]


@structure
def test_width_multiplies_every_channel_count_but_the_classes():
    model = builder("LeNet", width=1 / 10)
    shapes = [tuple(w.shape) for w in model.weights]
    assert shapes == [(5, 5, 1, 2), (5, 5, 2, 5), (245, 20), (20, 10)]


@structure
def test_classes_and_input_shape():
    model = builder("VGG7", classes=3, input_shape=(16, 24, 2))
    assert model.input_shape == (None, 16, 24, 2)
    assert model.output_shape == (None, 3)
    assert model.get_layer("fc1").layer.kernel.shape == (2 * 3 * 16, 64)


@structure
def test_pooling_neurons_have_the_published_threshold_and_derivative():
    pools = [
        x for x in builder("VGG9", norm="none").layers if type(x) is layers.IF
    ]
    assert len(pools) == 3
    assert {(x.threshold, x.factor, x.beta) for x in pools} == {(0.75, None, 1)}


@pytest.mark.parametrize("time_steps", [None, 4])
def test_encoder_none_takes_spike_trains(time_steps):
    model = builder(
        "LeNet", input_shape=(8, 8, 1), encoder=None, time_steps=time_steps
    )
    assert model.input_shape == (None, time_steps, 8, 8, 1)
    for steps in (4,) if time_steps else (4, 6):
        x = np.ones((1, steps, 8, 8, 1), "float32")
        assert model.predict(x, verbose=0).shape == (1, 10)


@structure
@pytest.mark.parametrize(
    "encoder, kind",
    [
        ("poisson", layers.PoissonEncoder),
        ("rate", layers.RateEncoder),
        ("latency", layers.LatencyEncoder),
        ("repeat", layers.RepeatEncoder),
    ],
)
def test_encoder_by_name(encoder, kind):
    model = builder("LeNet", encoder=encoder, time_steps=7)
    assert type(model.get_layer("encoder")) is kind
    assert model.get_layer("encoder").time_steps == 7


@structure
def test_encoder_of_ones_own():
    mine = layers.PoissonEncoder(9, max_rate=0.5, name="mine")
    model = builder("LeNet", encoder=mine)
    assert model.get_layer("mine") is mine
    assert mine.output.shape == (None, 9, 28, 28, 1)


@structure
def test_input_tensor_is_built_on():
    images = keras.Input((28, 28, 1))
    scaled = keras.layers.Rescaling(1 / 255)(images)
    outputs = builder("LeNet", input_tensor=images, encoder="repeat").output
    assert keras.Model(images, outputs).output_shape == (None, 10)
    model = builder("LeNet", input_tensor=scaled, encoder="repeat")
    assert model.input_shape == (None, 28, 28, 1)


@pytest.mark.parametrize(
    "given",
    [
        {"encoder": "repeat"},
        {"encoder": layers.RepeatEncoder(3)},
        {"encoder": None, "time_steps": 4},
        {"spiking": False},
    ],
    ids=["by name", "encoder", "spike train", "ReLUs"],
)
def test_layers_before_the_input_tensor_belong_to_the_model(given):
    shape = (4, 8, 8, 1) if given.get("encoder", 0) is None else (8, 8, 1)
    images = keras.Input(shape)
    scaled = keras.layers.Rescaling(1 / 255, name="scaled")(images)
    model = models.LeNet(input_tensor=scaled, seed=0, **given)
    bare = models.LeNet(input_shape=(8, 8, 1), seed=0, **given)
    assert [layer.name for layer in model.layers].index("scaled") == 1
    x = np.random.default_rng(0).uniform(0, 255, (2, *shape)).astype("float32")
    np.testing.assert_allclose(
        model.predict(x, verbose=0),
        bare.predict(x / 255, verbose=0),
        rtol=1e-4,
        atol=1e-5,
    )


@structure
def test_an_input_tensor_of_two_inputs_makes_a_model_of_two():
    left, right = keras.Input((8, 8, 1)), keras.Input((8, 8, 1))
    both = keras.layers.Concatenate()([left, right])
    model = builder("LeNet", input_tensor=both, encoder="repeat")
    assert model.input_shape == [(None, 8, 8, 1), (None, 8, 8, 1)]


@structure
@pytest.mark.parametrize(
    "given",
    [
        {"encoder": layers.RepeatEncoder(5)},
        {"encoder": None, "input_tensor": keras.Input((5, 28, 28, 1))},
    ],
    ids=["encoder", "input tensor"],
)
def test_time_steps_are_those_of_the_encoder_or_of_the_input_tensor(given):
    with pytest.raises(ValueError, match="time_steps=10, spike.* of 5 steps"):
        builder("LeNet", time_steps=10, **given)
    for time_steps in ("auto", 5):
        model = builder("LeNet", time_steps=time_steps, **given)
        assert model.get_layer("block1_lif1").output.shape[1] == 5


@structure
@pytest.mark.parametrize("spiking", [True, False])
@pytest.mark.parametrize("name", ["LeNet", "VGG8", "ResNet11", "ResNet19"])
def test_images_are_channels_last_whatever_keras_is_told(name, spiking):
    shapes = [x.shape for x in kernels(builder(name, spiking=spiking))]
    with channels_first():
        model = builder(name, spiking=spiking)
    assert [x.shape for x in kernels(model)] == shapes
    formats = {
        getattr(getattr(x, "layer", x), "data_format", "channels_last")
        for x in model.layers
    }
    assert formats == {"channels_last"}


@pytest.mark.parametrize("suffix", [".weights.h5", ".keras"])
def test_weights_of_a_file(tmp_path, suffix):
    arguments = {"encoder": None, "time_steps": 3, "input_shape": (8, 8, 1)}
    saved = builder("LeNet", seed=1, **arguments)
    path = tmp_path / f"saved{suffix}"
    save = saved.save if suffix == ".keras" else saved.save_weights
    save(path)
    loaded = builder("LeNet", seed=2, weights=path, **arguments)
    for a, b in zip(saved.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_seed_makes_weights_and_noise_reproducible():
    x = np.full((2, 8, 8, 1), 0.5, "float32")
    a, b, other = (
        builder("LeNet", seed=seed, time_steps=3, input_shape=(8, 8, 1))
        for seed in (1, 1, 2)
    )
    for one, same in zip(a.get_weights(), b.get_weights(), strict=True):
        np.testing.assert_array_equal(one, same)
    encoded = [np.asarray(m.get_layer("encoder")(x)) for m in (a, b, other)]
    np.testing.assert_array_equal(encoded[0], encoded[1])
    assert np.any(encoded[0] != encoded[2])
    assert np.any(a.get_weights()[0] != other.get_weights()[0])


def test_the_largest_seed_and_no_larger_one_is_taken():
    given = {"dropout": 0.2, "input_shape": (8, 8, 1)}
    assert models.LeNet(seed=2**32 - 1, **given).built
    for seed in (-1, 2**32):
        with pytest.raises(ValueError, match=rf"from 0 to .*seed={seed}\."):
            models.LeNet(seed=seed, **given)


def test_layers_of_one_seed_have_weights_of_their_own():
    one, two = kernels(builder("VGG9", seed=1, input_shape=(8, 8, 3)))[-4:-2]
    assert one.shape == two.shape
    assert np.any(np.asarray(one) != np.asarray(two))


@pytest.mark.parametrize(
    "name, gain", [("LeNet", 2.0), ("VGG5", 2.0), ("ResNet7", 1.0)]
)
def test_initial_kernels_are_normal_with_the_published_deviation(name, gain):
    for kernel in kernels(builder(name, width=1 / 2, seed=0)):
        values = np.asarray(kernel)
        deviation = math.sqrt(gain / np.prod(kernel.shape[:-1]))
        # The standard error of a deviation from n normal values.
        error = 4 / math.sqrt(2 * values.size)
        assert values.std() == pytest.approx(deviation, rel=error)
        assert abs(values.mean()) < 4 * deviation / math.sqrt(values.size)
        # Not truncated at two deviations.
        if values.size > 1000:
            assert np.abs(values).max() > 2.5 * deviation


@structure
@pytest.mark.parametrize("name", PAPERS)
def test_published_dropout_follows_every_lif_layer(name):
    model = builder(name, norm="none")
    lifs = [x for x in model.layers if type(x) is layers.LIF]
    rates = dropout_rates(model)
    assert len(rates) in (0, len(lifs))
    assert sorted(set(rates)) == PUBLISHED_DROPOUT[name]


@structure
@pytest.mark.parametrize("rate, expected", [(0.0, []), (0.4, [0.4] * 4)])
def test_dropout_of_ones_own(rate, expected):
    assert dropout_rates(builder("VGG5", dropout=rate)) == expected


@structure
def test_learning_rule_and_beta_reach_every_neuron():
    model = builder("ResNet11", learning_rule="exact", beta=0.9)
    for layer in model.layers:
        if isinstance(layer, (layers.LIF, layers.MembraneReadout)):
            assert layer.learning_rule == "exact"
            assert layer.beta == (1.0 if type(layer) is layers.IF else 0.9)


@structure
def test_names_are_stable_paths():
    names = [x.name for x in builder("ResNet7", norm="none").layers]
    assert names == [
        *["input", "encoder", "block1_conv1", "block1_lif1"],
        *["block1_lif1_dropout", "block1_pool", "block1_pool_if"],
        *["block2_conv1", "block2_lif1", "block2_lif1_dropout"],
        *["block2_conv2_pad", "block2_conv2", "block2_shortcut"],
        *["block2_add", "block2_lif2", "block2_lif2_dropout"],
        *["block3_conv1", "block3_lif1", "block3_lif1_dropout"],
        *["block3_conv2_pad", "block3_conv2", "block3_shortcut"],
        *["block3_add", "block3_lif2", "block3_lif2_dropout"],
        *["flatten", "fc1", "fc1_lif", "fc1_lif_dropout", "predictions"],
        "readout",
    ]
    again = builder("ResNet7", learning_rule="exact")
    assert names == [x.name for x in again.layers]


@structure
def test_summary_reads_as_the_architecture():
    lines = []
    builder("LeNet").summary(print_fn=lines.append, line_length=100)
    text = "\n".join(lines)
    for name in ("encoder", "block1_conv1", "block2_pool_if", "predictions"):
        assert name in text
    assert "(None, 25, 14, 14," in text


@structure
def test_a_stride_pads_the_image_on_every_side():
    # The paper pads by 1; Keras' "same" would pad the far side only.
    model = builder("ResNet7", encoder=None, time_steps=1)
    padding = model.get_layer("block2_conv2_pad").layer
    assert padding.padding == ((1, 1), (1, 1))
    assert model.get_layer("block2_conv2").layer.padding == "valid"


@structure
@pytest.mark.parametrize("name", sorted({*BUILDERS} - {"LeNet"}))
def test_without_arguments_a_network_is_made_for_few_steps(name):
    model = builder(name)
    assert model.training_order == "layer first"
    neurons = [x for x in model.layers if isinstance(x, layers.LIF)]
    assert all(isinstance(x.learning_rule, rules.Rate) for x in neurons)
    assert {(x.beta, x.reset) for x in neurons} == {(0.5, "subtract")}
    assert model.get_layer("readout").beta == 1.0
    assert model.get_layer("encoder").time_steps == 4
    assert isinstance(model.get_layer("encoder"), layers.RepeatEncoder)
    normalised = [x for x in model.layers if x.name.endswith("_bn")]
    weighted = [w for w in kernels(model) if "predictions" not in w.path]
    assert len(normalised) == len(weighted)


@structure
@pytest.mark.parametrize("name", sorted({*PAPERS} - {"LeNet"}))
@pytest.mark.parametrize(
    "asked",
    [
        {"learning_rule": "exact"},
        {"learning_rule": "collapsed"},
        {"norm": "none"},
    ],
)
def test_the_papers_rules_are_asked_for_with_the_papers_network(name, asked):
    model = builder(name, **asked)
    rule = asked.get("learning_rule", "collapsed")
    neurons = [x for x in model.layers if type(x) is layers.LIF]
    assert {(x.learning_rule, x.beta, x.reset) for x in neurons} == {
        (rule, 0.99, "zero")
    }
    assert model.get_layer("readout").beta == 0.99
    encoder = model.get_layer("encoder")
    assert isinstance(encoder, layers.PoissonEncoder)
    assert encoder.time_steps == 25
    assert all(w.path.endswith("kernel") for w in model.weights)


@structure
@pytest.mark.parametrize("name", TODAYS)
def test_todays_networks_stay_as_they_are_by_any_rule(name):
    model = builder(name, learning_rule="collapsed")
    assert model.get_layer("encoder").time_steps == 4
    assert any(x.name.endswith("_bn") for x in model.layers)


@pytest.mark.parametrize("name", BUILDERS)
@pytest.mark.parametrize("norm", ["none", "batch", "weight"])
def test_weights_of_the_network_with_relus_fit_one_to_one(name, norm):
    ann = builder(name, norm=norm, width=1 / 32, seed=1, spiking=False)
    spiking = builder(name, norm=norm, width=1 / 32, seed=2)
    assert not isinstance(ann, models.Model)
    spiking.set_weights(ann.get_weights())
    ours = [w.path.rsplit("/", 2)[-2:] for w in spiking.weights]
    assert ours == [w.path.rsplit("/", 2)[-2:] for w in ann.weights]


def test_the_network_with_relus_computes_what_its_layers_say():
    ann = builder("VGG5", spiking=False, seed=1, width=1 / 32, dropout=0.5)
    images = np.random.default_rng(0).random((2, 32, 32, 3), "float32")
    x = images
    for layer in ann.layers[1:]:
        if layer.name.endswith("_lif") or "_lif" in layer.name:
            is_relu = isinstance(layer, keras.layers.ReLU)
            x = np.maximum(x, 0) if is_relu else x
        else:
            x = np.asarray(layer(x))
    np.testing.assert_allclose(ann.predict(images, verbose=0), x, rtol=1e-5)


@pytest.mark.parametrize(
    "given",
    [
        {"time_steps": 8},
        {"encoder": "poisson"},
        {"encoder": None},
        {"learning_rule": "rate"},
        {"beta": 0.5},
    ],
)
def test_a_network_without_spikes_refuses_what_is_about_them(given):
    with pytest.raises(ValueError, match=f"no `{next(iter(given))}`"):
        builder("VGG5", spiking=False, **given)


@pytest.mark.parametrize("name", BUILDERS)
def test_help_describes_the_network(name):
    function = getattr(models, name)
    assert function.__name__ == name
    assert function.__doc__.startswith((f"Spiking {name}", f"{name}: "))
    assert "Returns:" in function.__doc__
