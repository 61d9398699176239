"""Every obvious mistake is answered by what was expected and what came."""

import math

import keras
import numpy as np
import pytest

from keras_snn import layers, losses, models, rules, surrogates

INF, NAN = math.inf, math.nan


def zeros(*shape, dtype="float32"):
    return np.zeros(shape, dtype)


def small(**kwargs):
    return models.LeNet(
        **{"input_shape": (8, 8, 1), "width": 1 / 16, "time_steps": 2, **kwargs}
    )


def fit_with_class_numbers():
    model = small()
    model.compile("sgd", losses.SummedSquaredError())
    model.fit(zeros(2, 8, 8, 1), np.array([1, 2]), verbose=0)


NEURONS = [
    (
        f"beta={beta}",
        lambda beta=beta: layers.LIF(beta=beta),
        rf"`beta` must lie in \(0, 1\]. Received: beta={beta}.*pass `tau`",
    )
    for beta in (0.0, 1.3, -0.5, NAN, INF)
]
NEURONS += [
    (
        f"threshold={value}",
        lambda value=value: layers.LIF(threshold=value),
        f"`threshold` must be positive and finite.*threshold={value}",
    )
    for value in (0.0, -1.0, INF, NAN)
]
NEURONS += [
    (
        f"tau={tau}",
        lambda tau=tau: layers.LIF(tau=tau),
        rf"`tau` must be a positive number of time steps; beta = exp.*{tau}",
    )
    for tau in (0.0, -1.0, NAN)
]
NEURONS += [
    (
        "beta of text",
        lambda: layers.LIF(beta="0.9"),
        r"`beta` must be a real number. Received: beta='0.9' \(of type str",
    ),
    (
        "beta and tau",
        lambda: layers.LIF(beta=0.9, tau=3),
        "either `beta`.*or `tau`.*not both. Received: beta=0.9, tau=3",
    ),
    (
        "beta and tau of a readout",
        lambda: layers.MembraneReadout(beta=0.9, tau=3),
        "either `beta`.*or `tau`.*not both. Received: beta=0.9, tau=3",
    ),
    (
        "reset",
        lambda: layers.LIF(reset="none"),
        '`reset` must be "zero".*or "subtract".*Received: reset=\'none\'',
    ),
    (
        "reset of an array",
        lambda: layers.LIF(reset=np.ones(2)),
        '`reset` must be "zero".*or "subtract".*Received: reset=array',
    ),
    *(
        (
            f"learning_rule={rule!r}"[:40],
            lambda rule=rule: layers.LIF(learning_rule=rule),
            '`learning_rule` must be one of "exact", "collapsed", "arctan".*'
            "surrogates.Arctan.*Received: learning_rule=",
        )
        for rule in ("foo", 3, None, ["exact"], np.ones(2), surrogates.Arctan)
    ),
    *(
        (
            f"factor={factor!r}",
            lambda factor=factor: layers.LIF(factor=factor),
            '`factor` must be "leak_corrected".*None.*positive.*Received: fac',
        )
        for factor in ("bar", 0, -1.0, True, np.ones(2))
    ),
    (
        "LIF on rank 2",
        lambda: layers.LIF()(zeros(2, 3)),
        r"axes \(batch, time, ...features\). Received: shape \(2, 3\). Put an "
        "encoder",
    ),
    (
        "LIF on symbolic rank 2",
        lambda: layers.LIF()(keras.Input((3,))),
        r"axes \(batch, time, ...features\). Received: shape \(None, 3\)",
    ),
    (
        "LIF on integers",
        lambda: layers.LIF()(zeros(2, 3, 4, dtype="int32")),
        "expects floating point input. Received: dtype int32. Cast it first",
    ),
    (
        "LIF on symbolic integers",
        lambda: layers.LIF()(keras.Input((3, 4), dtype="int32")),
        "expects floating point input. Received: dtype int32. Cast it first",
    ),
    (
        "LIF on two tensors",
        lambda: layers.LIF()([zeros(2, 3, 4), zeros(2, 3, 4)]),
        "expects one tensor. Received: list. Merge several inputs",
    ),
    *(
        (
            f"LIFCell({units!r})",
            lambda units=units: layers.LIFCell(units),
            "`units` must be a positive integer.*Received: units=.*For images "
            "use the layer keras_snn.layers.LIF",
        )
        for units in (0, (3, 4), 2.0, True)
    ),
    (
        "LIFCell of another size",
        lambda: keras.layers.RNN(layers.LIFCell(3))(zeros(2, 3, 4)),
        r"current of shape \(batch, units=3\). Received: shape \(2, 4\)",
    ),
    (
        "LIFCell on integers",
        lambda: keras.layers.RNN(layers.LIFCell(4))(
            zeros(2, 3, 4, dtype="int32")
        ),
        "LIFCell expects floating point currents. Received: dtype int32. Cast",
    ),
    (
        "readout on rank 2",
        lambda: layers.MembraneReadout()(zeros(2, 3)),
        r"expects a sequence with axes.*Received: shape \(2, 3\)",
    ),
    (
        "count of integers",
        lambda: layers.SpikeCountReadout()(zeros(2, 3, 4, dtype="int8")),
        "expects floating point input. Received: dtype int8. Cast it first",
    ),
    *(
        (
            f"{kind.__name__} by the rate rule",
            lambda kind=kind: kind(3, learning_rule="rate"),
            f"{kind.__name__} sees one time step at a time.*keras_snn.layers."
            r"LIF.*Received: learning_rule=Rate\(surrogate=Sigmoid",
        )
        for kind in (layers.LIFCell, layers.IFCell)
    ),
    *(
        (
            f"{kind.__name__} by the rate rule",
            lambda kind=kind: kind(learning_rule="rate"),
            f"{kind.__name__} learns through time, by a surrogate, e.g. "
            r'learning_rule="arctan". Received: learning_rule=Rate\(.*, a rule',
        )
        for kind in (layers.PLIF, layers.ALIF, layers.SynapticLIF)
    ),
    *(
        (
            f"Rate({surrogate!r})"[:40],
            lambda surrogate=surrogate: rules.Rate(surrogate),
            '`surrogate` must be one of "arctan".*an object of '
            "`keras_snn.surrogates`.*Received: surrogate=",
        )
        for surrogate in ("exact", 4.0, None, surrogates.Sigmoid)
    ),
    (
        "surrogate",
        lambda: surrogates.Arctan(alpha="steep"),
        "`alpha` must be a real number. Received: alpha='steep'",
    ),
]

ON_IMAGES = r"axes: batch, time and those of one frame. Received: shape "
FOLDS = [
    *(
        (
            f"TimeFold({type(layer).__name__}) on images",
            lambda layer=layer: layers.TimeFold(layer)(zeros(2, 8, 8, 1)),
            rf"expects 5 {ON_IMAGES}\(2, 8, 8, 1\). Put an encoder",
        )
        for layer in (
            keras.layers.Conv2D(2, 3),
            keras.layers.AveragePooling2D(2),
            keras.layers.ZeroPadding2D(1),
            keras.Sequential([keras.layers.Conv2D(2, 3)]),
        )
    ),
    (
        "TimeFold(Conv2D) on symbolic images",
        lambda: layers.TimeFold(keras.layers.Conv2D(2, 3))(
            keras.Input((8, 8, 1))
        ),
        rf"expects 5 {ON_IMAGES}\(None, 8, 8, 1\). Put an encoder",
    ),
    *(
        (
            f"TimeFold of {type(value).__name__}",
            lambda value=value: layers.TimeFold(value),
            r"TimeFold expects a Keras layer, e.g. TimeFold\(.*Received: ",
        )
        for value in (3, "dense", keras.ops.relu, keras.layers.Dense)
    ),
    *(
        (
            f"TimeFold({type(layer).__name__})",
            lambda layer=layer: layers.TimeFold(layer),
            "already runs over the time axis. Call it on the sequence itself",
        )
        for layer in (
            layers.LIF(),
            layers.MembraneReadout(),
            keras.layers.LSTM(3),
            keras.layers.TimeDistributed(keras.layers.Dense(2)),
        )
    ),
    (
        "TimeFold of a cell",
        lambda: layers.TimeFold(layers.LIFCell(3)),
        r"LIFCell is a cell.*Use keras.layers.RNN\(LIFCell\(...\)",
    ),
    (
        "TimeFold of an encoder",
        lambda: layers.TimeFold(layers.RateEncoder(3)),
        "RateEncoder makes the time axis. Call it on the images themselves",
    ),
]

ENCODERS = [
    *(
        (
            f"dropout rate={rate}",
            lambda rate=rate: layers.TimeConstantDropout(rate),
            rf"`rate` must lie in \[0, 1\).*Received: rate={rate}",
        )
        for rate in (1.0, -0.1, NAN)
    ),
    *(
        (
            f"time_steps={steps!r}",
            lambda steps=steps: layers.PoissonEncoder(steps),
            "`time_steps` must be a positive integer.*Received: time_steps=",
        )
        for steps in (0, -1, 2.5, True, "25", None)
    ),
    *(
        (
            f"max_rate={rate}",
            lambda rate=rate: layers.RateEncoder(3, max_rate=rate),
            rf"`max_rate` must lie in \(0, 1\].*Received: max_rate={rate}",
        )
        for rate in (0.0, 2.0)
    ),
    *(
        (
            f"seed={seed!r}",
            lambda seed=seed: layers.PoissonEncoder(3, seed=seed),
            "`seed` must be an integer, or None for a random one. Received",
        )
        for seed in (1.5, True, "a")
    ),
    (
        "seed of a dropout",
        lambda: layers.TimeConstantDropout(0.5, seed=1.5),
        "`seed` must be an integer, or None.*Received: seed=1.5",
    ),
    *(
        (
            f"{kind.__name__} on integers",
            lambda kind=kind: kind(3)(zeros(2, 4, dtype="uint8")),
            "expects floating point input. Received: dtype uint8. Cast.*scale",
        )
        for kind in (
            layers.PoissonEncoder,
            layers.RateEncoder,
            layers.LatencyEncoder,
            layers.RepeatEncoder,
        )
    ),
    (
        "encoder on symbolic integers",
        lambda: layers.PoissonEncoder(3)(keras.Input((4,), dtype="uint8")),
        "expects floating point input. Received: dtype uint8. Cast.*scale",
    ),
]

LOSSES = [
    *(
        (
            f"class numbers of shape {labels.shape}",
            lambda labels=labels: losses.SummedSquaredError()(
                labels, zeros(2, 10)
            ),
            r"expects one-hot labels of the outputs' shape \(2, 10\).*"
            "Received: labels of shape.*keras.utils.to_categorical",
        )
        for labels in (np.array([1, 2]), np.array([[1], [2]]))
    ),
    (
        "class numbers in fit",
        fit_with_class_numbers,
        "expects one-hot labels.*keras.utils.to_categorical",
    ),
]

BUILDERS = [
    (name, lambda kwargs=kwargs: small(**kwargs), message)
    for name, kwargs, message in [
        (
            "classes 0",
            {"classes": 0},
            "`classes` must be a positive integer.*0",
        ),
        ("classes of text", {"classes": "10"}, "`classes` must be.*'10'"),
        ("classes True", {"classes": True}, "`classes` must be.*True"),
        ("width 0", {"width": 0}, "`width` must be positive.*width=0"),
        ("width inf", {"width": INF}, "`width` must be positive.*width=inf"),
        (
            "dropout 1.5",
            {"dropout": 1.5},
            r"`dropout` must lie in \[0, 1\).*Received: dropout=1.5",
        ),
        ("dropout -0.1", {"dropout": -0.1}, r"`dropout` must lie in \[0, 1\)"),
        ("dropout text", {"dropout": "0.2"}, "`dropout` must be a real number"),
        *(
            (
                f"input_shape={shape}",
                {"input_shape": shape},
                r"`input_shape` must be \(height, width, channels\).*three "
                "positive integers.*Received: input_shape=",
            )
            for shape in (
                (28, 28),
                (None, None, 1),
                (25, 28, 28, 1),
                (0, 8, 1),
                28,
            )
        ),
        (
            "image too small",
            {"input_shape": (3, 8, 1)},
            "halves the image 2 times and needs at least 4x4 pixels. "
            "Received: 3x8",
        ),
        *(
            (
                f"encoder={encoder!r}"[:50],
                {"encoder": encoder},
                '`encoder` must be one of "poisson", "rate", "latency", '
                '"repeat", an encoder layer, or None.*Received: encoder=',
            )
            for encoder in ("foo", ["poisson"], layers.PoissonEncoder)
        ),
        (
            "any T with an encoder",
            {"time_steps": None},
            'encoder="poisson" needs a number of steps, e.g. time_steps=25.*'
            "encoder=None",
        ),
        ("time_steps 0", {"time_steps": 0}, "`time_steps` must be a positive"),
        ("seed 1.5", {"seed": 1.5}, "`seed` must be an integer.*seed=1.5"),
        ("beta 2", {"beta": 2.0}, r"`beta` must lie in \(0, 1\].*beta=2.0"),
        ("rule", {"learning_rule": "foo"}, "`learning_rule` must be one of"),
        *(
            (
                f"weights={weights!r}",
                {"weights": weights},
                "`weights` must be None or the path of a.*Not found: ",
            )
            for weights in ("imagenet", 3)
        ),
        *(
            (
                f"input_tensor {tensor!r}"[:40],
                {"input_tensor": tensor, "input_shape": None},
                r"`input_tensor` must be a symbolic Keras tensor, e.g. .*"
                "keras.Input.*Received: ",
            )
            for tensor in (zeros(1, 8, 8, 1), "images")
        ),
        (
            "input_tensor of a spike train, with an encoder",
            {"input_tensor": keras.Input((2, 8, 8, 1)), "input_shape": None},
            r"`input_tensor` must have axes \(batch, height, width, channels\)"
            ".*encoder=None.*Received: shape",
        ),
        (
            "input_tensor of an image, without encoder",
            {
                "input_tensor": keras.Input((8, 8, 1)),
                "input_shape": None,
                "encoder": None,
            },
            r"`input_tensor` must have axes \(batch, time, height, width, chan",
        ),
        (
            "input_tensor without channels",
            {"input_tensor": keras.Input((8, 8)), "input_shape": None},
            r"`input_tensor.shape` must be \(height, width, channels\)",
        ),
        (
            "input_tensor of unknown size",
            {"input_tensor": keras.Input((None, None, 1)), "input_shape": None},
            r"`input_tensor.shape` must be \(height, width, channels\)",
        ),
        (
            "input_tensor of another shape",
            {"input_tensor": keras.Input((8, 8, 3))},
            r"`input_shape` must be that of `input_tensor`, or left out.*"
            r"\(8, 8, 1\)",
        ),
        (
            "input_tensor of integers",
            {
                "input_tensor": keras.Input((8, 8, 1), dtype="uint8"),
                "input_shape": None,
            },
            "expects floating point input. Received: dtype uint8. Cast",
        ),
    ]
]

TABLE = NEURONS + FOLDS + ENCODERS + LOSSES + BUILDERS


@pytest.mark.parametrize(
    "mistake, message",
    [pytest.param(*case[1:], id=case[0].replace("\n", " ")) for case in TABLE],
)
def test_mistake_is_explained(mistake, message):
    with pytest.raises(ValueError, match=f"(?s){message}"):
        mistake()


@pytest.mark.parametrize("name", ["VGG9", "ResNet11", "ResNet19"])
def test_each_network_knows_its_smallest_image(name):
    least = {"VGG9": 8, "ResNet11": 8, "ResNet19": 4}[name]
    build = getattr(models, name)
    with pytest.raises(ValueError, match=f"{name} .* at least {least}x{least}"):
        build(input_shape=(least - 1, 32, 3), width=1 / 64)
    build(input_shape=(least, least, 3), width=1 / 64)


def test_numpy_integers_are_integers():
    model = small(classes=np.int64(3), input_shape=tuple(np.array([8, 8, 1])))
    assert model.output_shape == (None, 3)
    assert layers.RateEncoder(np.int32(3)).time_steps == 3
