"""What public functions make of values that nobody would expect.

Each argument of each public constructor and of many functions gets each of
`VALUES`. It may take one that has a meaning (`MEANT`), or raise an error of
this package that names the argument. Anything else is a fault: another error,
an error from deep inside another package, or a value that is taken silently.
"""

import decimal
import fractions
import inspect
import math
import pathlib
import traceback

import keras
import numpy as np

import keras_snn as snn

PACKAGE = str(pathlib.Path(snn.__file__).parent)

VALUES = {
    "None": None,
    "True": True,
    "False": False,
    "zero": 0,
    "minus one": -1,
    "minus a half": -0.5,
    "a half": 0.5,
    "one": 1,
    "three": 3,
    "huge": 10**30,
    "NaN": math.nan,
    "infinity": math.inf,
    "empty text": "",
    "a word": "word",
    "digits": "3",
    "bytes": b"x",
    "list": [],
    "list of words": ["a"],
    "uneven lists": [[], [0.5]],
    "dict": {},
    "object": object(),
    "function": len,
    "complex": 1j,
    "decimal": decimal.Decimal("0.5"),
    "fraction": fractions.Fraction(1, 2),
    "array": np.array([0.5, 0.25]),
    "array of NaN": np.array([math.nan]),
    "array of integers": np.array([1, 2]),
    "array without axes": np.array(0.5),
    "NumPy float": np.float32(0.5),
    "NumPy integer": np.int64(3),
    "NumPy bool": np.bool_(True),
}

NUMBERS = {"a half", "NumPy float", "array without axes", "fraction"}
INTEGERS = {"one", "three", "NumPy integer"}
POSITIVE = NUMBERS | INTEGERS
FRACTIONS = NUMBERS | {"one"}
NEGATIVE = {"minus one", "minus a half"}
ARRAYS = {"array", "array of integers"}
FLOATS = {"array", "array of NaN", "array without axes", "NumPy float"}
FLAGS = {"True", "False", "NumPy bool"}

# Answered by Keras, in its words.
OF_KERAS = {"name", "reduction", "loss"}

# Which values an argument may take, by its name; `Class.argument` goes first.
MEANT = {
    "alpha": POSITIVE | {"huge"},
    "amplitude": POSITIVE | {"zero", "huge"},
    "beta": FRACTIONS | {"None"},
    "channels": INTEGERS,
    "classes": INTEGERS,
    "decay": FRACTIONS,
    "dropout": NUMBERS | {"None", "zero"},
    "end": POSITIVE | {"zero"},
    "factor": POSITIVE | {"None", "huge"},
    "initial_potential": POSITIVE | NEGATIVE | {"zero", "huge"},
    "label_smoothing": NUMBERS | {"zero"},
    "learning_rule": set(),
    "lower": FRACTIONS,
    "max_rate": FRACTIONS,
    "momentum": NUMBERS | {"zero"},
    "normalize": FLAGS,
    "per_channel": FLAGS,
    "per_position": FLAGS,
    "peak": POSITIVE | {"huge"},
    "rate": NUMBERS | {"zero"},
    "recurrent": {"None"},
    "reset": set(),
    "rho": FRACTIONS | {"zero"},
    "scale_input": FLAGS,
    "schedule": set(),
    "seed": INTEGERS | {"None", "zero", "minus one"},
    "slope": POSITIVE | {"huge"},
    "surrogate": set(),
    "target": FRACTIONS | {"None", "zero"},
    "tau": POSITIVE | {"None", "infinity", "huge"},
    "threshold": POSITIVE | {"huge"},
    "time_steps": INTEGERS,
    "total_steps": INTEGERS,
    "units": INTEGERS,
    "return_potentials": FLAGS,
    "shuffle": FLAGS,
    "epoch": INTEGERS | {"zero"},
    "targets": set(),
    "Windows.y": {"None"},
    "Delay.steps": INTEGERS | {"zero", "array of integers"},
    "Windows.steps": INTEGERS,
    "Windows.seed": INTEGERS | {"zero"},
    "Windows.x": set(),
    "trainable_beta": FLAGS,
    "trainable_threshold": FLAGS,
    "unroll": FLAGS,
    "upper": FRACTIONS | {"None", "zero"},
    "use_scale": FLAGS,
    "warmup": NUMBERS | {"zero"},
    "weight": POSITIVE | {"zero", "huge"},
    "weight_decay": POSITIVE | {"zero", "huge"},
    "width": POSITIVE | {"None"},
    "Boxcar.width": POSITIVE | {"huge"},
    "Triangle.width": POSITIVE | {"huge"},
    # Of functions.
    "ann": set(),
    "calibration_data": set(),
    "current": FLOATS,
    "data": set(),
    "dataset": set(),
    "dtype": set(),
    "encoder": {"None"},
    "events": set(),
    "events_per_frame": INTEGERS | {"None"},
    "include_top": FLAGS,
    "input_shape": {"None"},
    "input_tensor": {"None"},
    "layers": {"None"},
    "max_pooling": set(),
    "membrane_potential": FLOATS,
    "method": set(),
    "model": set(),
    "norm": {"None"},
    "percentile": POSITIVE,
    "polarity_channels": {"one", "NumPy integer"},
    "pooling_neurons": FLAGS | {"None"},
    "batch_size": INTEGERS,
    "representation": set(),
    "sensor_size": set(),
    "spiking": FLAGS,
    "start": INTEGERS | {"None", "zero"},
    "verbose": FLAGS | {"zero", "one"},
    "weights": {"None"},
    "window": INTEGERS | {"None"},
    "x": {"array", "array of NaN"},
    "y": {"array of integers"},
    "LeNet.learning_rule": {"None"},
    "VGG5.learning_rule": {"None"},
    "RecurrentLIF.alpha": FRACTIONS | {"zero", "array"},
    "SynapticLIF.alpha": FRACTIONS | {"zero", "array"},
    "Silence.lower": FRACTIONS | {"zero"},
    "TET.target": POSITIVE | NEGATIVE | {"zero", "huge"},
}
for _name in ("fire", "if_step", "lif_step"):
    for _of in ("beta", "threshold"):
        # Tensors are not looked at: functions run within compiled loops.
        MEANT[f"{_name}.{_of}"] = (
            MEANT[_of]
            | ARRAYS
            | {
                "array of NaN",
                "NumPy bool",
            }
        )
for _kind in ("ALIF", "IF", "LIF", "PLIF", "RecurrentLIF", "SynapticLIF"):
    MEANT[f"{_kind}.threshold"] = MEANT["threshold"] | ARRAYS
    if _kind != "PLIF":
        MEANT[f"{_kind}.beta"] = MEANT["beta"] | {"array"}
        MEANT[f"{_kind}.tau"] = MEANT["tau"] | ARRAYS


def calls():
    """Return `(name, function, arguments)` of what is tried."""
    layers = snn.layers
    found = [
        (kind, getattr(layers, kind), base)
        for kind, base in {
            "ALIF": {},
            "Affine": {},
            "Delay": {"steps": 2},
            "IF": {},
            "IFCell": {"units": 3},
            "LIF": {},
            "LIFCell": {"units": 3},
            "LatencyEncoder": {"time_steps": 3},
            "MembraneReadout": {},
            "PLIF": {},
            "PoissonEncoder": {"time_steps": 3},
            "RateEncoder": {"time_steps": 3},
            "RecurrentLIF": {},
            "RepeatEncoder": {"time_steps": 3},
            "SpikeCountReadout": {},
            "SynapticLIF": {},
            "ThresholdBatchNormalization": {},
            "TimeConstantDropout": {"rate": 0.5},
        }.items()
    ]
    found += [
        (kind, getattr(snn.surrogates, kind), {})
        for kind in ("Arctan", "Boxcar", "FastSigmoid", "Sigmoid", "Triangle")
    ]
    found += [
        ("CrossEntropy", snn.losses.CrossEntropy, {}),
        ("TET", snn.losses.TemporalEfficientTraining, {}),
        ("Silence", snn.regularizers.Silence, {}),
        ("SpikeRate", snn.regularizers.SpikeRate, {"target": 0.1}),
        ("Rate", snn.rules.Rate, {}),
        ("sgd", snn.training.sgd, {"peak": 0.1, "total_steps": 10}),
        ("Triangular", snn.training.Triangular, {"peak": 1, "total_steps": 9}),
        (
            "Windows",
            snn.training.Windows,
            {"x": np.zeros((4, 6, 3), "float32"), "steps": 2},
        ),
    ]
    return found


def calls_with_data():
    """Return the same of functions that take tensors, models and events."""
    keras.utils.set_random_seed(0)
    images = np.linspace(0, 1, 128, dtype="float32").reshape(2, 8, 8, 1)
    small = {"input_shape": (8, 8, 1), "width": 1 / 16, "time_steps": 2}
    model = snn.models.LeNet(**small)
    layers = [keras.Input((8, 8, 1)), keras.layers.Flatten()]
    ann = keras.Sequential(
        [*layers, keras.layers.Dense(3, "relu"), keras.layers.Dense(2)]
    )
    potential = np.zeros((3, 2), "float32")
    plain = {**small, "norm": "none", "encoder": "repeat", "time_steps": 8}
    plain = snn.models.LeNet(**plain)
    events = snn.datasets.events.as_events([1, 2], [3, 4], [5, 6], [0, 1])
    recorded = {"events": events, "sensor_size": (8, 8)}
    encoded = {"x": images, "time_steps": 3}
    seeded = {**encoded, "seed": 1}
    v = {"membrane_potential": potential}
    found = {
        "LeNet": (snn.models.LeNet, small),
        "VGG5": (snn.models.VGG5, {**small, "input_shape": (8, 8, 1)}),
        "calibrate": (snn.models.calibrate, {"model": model, "x": images}),
        "convert": (
            snn.conversion.convert,
            {"ann": ann, "calibration_data": images, "time_steps": 2},
        ),
        "fire": (snn.neurons.fire, v),
        "if_step": (snn.neurons.if_step, {**v, "current": potential}),
        "info": (snn.datasets.info, {"name": "digits"}),
        "latency": (snn.encoding.latency, encoded),
        "latency_curve": (
            snn.analysis.latency_curve,
            {"model": model, "x": images, "y": np.zeros(2, "int32")},
        ),
        "lif_step": (snn.neurons.lif_step, {**v, "current": potential}),
        "poisson": (snn.encoding.poisson, seeded),
        "profile": (snn.analysis.profile, {"model": model, "data": images}),
        "rate": (snn.encoding.rate, encoded),
        "recipe": (snn.training.recipe, {}),
        "record": (snn.analysis.record, {"model": model, "x": images}),
        "repeat": (snn.encoding.repeat, encoded),
        "scale_to_rate": (
            snn.models.scale_to_rate,
            {"model": plain, "x": images},
        ),
        "spike_rates": (snn.models.spike_rates, {"model": model, "x": images}),
        "streaming": (snn.streaming, {"model": model}),
        "to_frames": (
            snn.datasets.events.to_frames,
            {**recorded, "time_steps": 3},
        ),
    }
    return [(name, *call) for name, call in found.items()]


def outcome(function, base, argument, value):
    """Return what came of a value of an argument, and the error's text.

    The outcome is "taken", "named" (an error of this package that names the
    argument), or "foreign".
    """
    given = {**base, argument: value}
    # Two ways to say one thing.
    for other in {"tau": ("beta",), "beta": ("tau",)}.get(argument, ()):
        given.pop(other, None)
    try:
        function(**given)
    except Exception as error:
        return judged(error, argument)
    return "taken", ""


def arguments_of(function):
    signature = inspect.signature(function)
    kinds = (
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        inspect.Parameter.KEYWORD_ONLY,
    )
    return [
        name
        for name, parameter in signature.parameters.items()
        if parameter.kind in kinds and name not in OF_KERAS
    ]


# How messages name what a caller knows by another word.
OTHER_NAMES = {
    "data": "expects",
    "ann": "convert() expects",
    "model": "expects",
    "sensor_size": "pixels of the sensor",
    "weights": "weights",
    "x": "expects inputs",
    "y": "labels",
    "name": "data set",
    "dataset": '"digits"',
}


def judged(error, argument):
    frames = traceback.extract_tb(error.__traceback__)
    ours = frames[-1].filename.startswith(PACKAGE)
    words = argument, OTHER_NAMES.get(argument, argument)
    named = any(word in str(error) for word in words)
    kind = isinstance(error, (ValueError, TypeError))
    text = f"{type(error).__name__}: {str(error)[:160]}"
    return "named" if ours and named and kind else "foreign", text


def fault(name, function, base, argument, kind, value):
    """Return the line that says what is wrong with one case, or None.

    Args:
        kind: Which of `VALUES` it is, or is like.
    """
    found, text = outcome(function, base, argument, value)
    meant = MEANT.get(f"{name}.{argument}") or MEANT[argument]
    if found == "foreign":
        return f"{name}({argument}={value!r}): {text}"
    if found == "taken" and kind not in meant:
        return f"{name}({argument}={value!r}), {kind}, is taken silently"
    return None


def faults(name, function, base):
    """Return the lines that say what is wrong, and the number of cases."""
    cases = [(a, kind) for a in arguments_of(function) for kind in VALUES]
    found = [
        fault(name, function, base, argument, kind, VALUES[kind])
        for argument, kind in cases
    ]
    return [line for line in found if line], len(cases)
