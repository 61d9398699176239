"""Networks drawn from seeds, through every tool and every way of execution.

What each tool gives is compared with a `keras.Model` of the same layers,
written in the functional API, which runs layer by layer. A tool that cannot
take a network has to say so, for every style in which it is built the same.

    python -m tests.network.generated --seeds 0 2000
"""

import argparse
import dataclasses
import functools
import pathlib
import tempfile
import traceback

import keras
import numpy as np
import pytest

import keras_snn as snn
from tests.helpers import engine, untraced
from tests.network import drawing

TOOLS = {}
ON_TENSORFLOW_ONLY = set()
LEARNING_RATE = 0.125


def tool(function=None, *, tensorflow_only=False):
    """Register a check of a `Case` as the tool of its name."""
    if function is None:
        return functools.partial(tool, tensorflow_only=tensorflow_only)
    TOOLS[function.__name__] = function
    if tensorflow_only:
        ON_TENSORFLOW_ONLY.add(function.__name__)
    return function


class Case:
    """A network drawn from a seed, in one style, and what it has to give.

    Attributes:
        plan: The `drawing.Plan`.
        style: How it is built.
        x, y: Inputs, a list of arrays, and labels.
        folder: Where files may be written.
    """

    def __init__(self, seed, style, folder):
        self.plan = drawing.draw(seed)
        one = self.plan.inputs == "one"
        self.style = style if one or style != "sequential" else "nested"
        self.folder = pathlib.Path(folder)
        arrays, self.y = drawing.data(self.plan)
        self.x = arrays if len(arrays) > 1 else arrays[0]

    def build(self, style=None, model_type=snn.Model):
        return drawing.build(self.plan, style or self.style, model_type)

    def reference(self):
        return drawing.Builder(self.plan, "functional", keras.Model)

    @functools.cached_property
    def found(self):
        """Outputs and spikes by name, of one pass layer by layer."""
        reference = self.reference()
        probe = keras.Model(
            reference.model.inputs,
            [
                reference.model.outputs[0],
                reference.model.get_layer("readout").output,
                *reference.trains.values(),
            ],
        )
        probe = untraced(probe)
        outputs, readout, *trains = probe.predict(self.x, verbose=0)
        return outputs, readout, dict(zip(reference.trains, trains))

    @property
    def outputs(self):
        return self.found[0]

    @property
    def readout(self):
        """What the readout returns; a side input is joined behind it."""
        return self.found[1]

    @property
    def trains(self):
        return self.found[2]

    @property
    def loops(self):
        """Whether the network runs one step at a time."""
        return self.plan.readout != "whole"

    def refuses(self, what, *words):
        """Check that a tool refuses the network, in these words."""
        for style in ("functional", self.style):
            try:
                what(self.build(style))
            except ValueError as error:
                missing = [x for x in words if x not in str(error)]
                assert not missing, f"{missing} not in: {error}"
            else:
                raise AssertionError(f"{what} takes {self.plan}")


def close(found, expected, tolerance=1e-5):
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(found),
        expected,
        rtol=tolerance,
        atol=tolerance,
    )


def same(found, expected):
    """Check dicts of arrays: names, their order, and numbers."""
    assert list(found) == list(expected)
    for name, x in expected.items():
        close(found[name], x)


# Numbers of the model itself.


@tool
def predict(case):
    close(case.build().predict(case.x, verbose=0), case.outputs)
    close(case.build().predict_on_batch(case.x), case.outputs)


@tool
def call(case):
    close(case.build()(case.x, training=False), case.outputs)


@tool
def layer_by_layer(case):
    """The same network as a `keras.Model`, in all styles."""
    model = case.build(model_type=keras.Model)
    close(model.predict(case.x, verbose=0), case.outputs)


@tool
def evaluate(case):
    model = case.build()
    model.compile("sgd", _loss(), metrics=["accuracy"])
    loss, accuracy = model.evaluate(case.x, case.y, verbose=0)
    close(loss, ((case.outputs - case.y) ** 2).sum())
    close(accuracy, _accuracy(case.outputs, case.y))


@tool
def fit(case):
    """One step of gradient descent gives the weights of `keras.Model`'s."""
    _learns_alike(case.build(), case)


@tool
def fit_in_windows(case):
    """Through time, two steps at once."""
    model = case.build()
    if isinstance(model, keras.Sequential):
        model = snn.Model(model.inputs, model.outputs)
    model.remat_steps = 2
    _learns_alike(model, case)


def _learns_alike(model, case):
    reference = case.reference().model
    if getattr(model, "training_order", None) == "layer first":
        # Credit of means through normalizations, which keras.Model has not.
        reference = case.build("functional")
    found, expected = _fitted(model, case), _fitted(reference, case)
    assert sorted(found) == sorted(expected)
    for name, weights in expected.items():
        for a, b in zip(found[name], weights, strict=True):
            close(a, b, 1e-4)


def _fitted(model, case):
    """Return the weights by layer after one step."""
    model.compile(keras.optimizers.SGD(LEARNING_RATE), _loss())
    # In the same order: dropout draws by position.
    untraced(model).fit(case.x, case.y, len(case.y), verbose=0, shuffle=False)
    return {
        layer.name: layer.get_weights()
        for layer in model._flatten_layers()
        if layer.weights and not isinstance(layer, keras.Model)
    }


def _loss():
    return snn.losses.SummedSquaredError()


def _accuracy(outputs, y):
    return np.mean(np.argmax(outputs, 1) == np.argmax(y, 1))


@tool
def save(case):
    path = case.folder / "model.keras"
    case.build().save(path)
    model = keras.models.load_model(path)
    close(model.predict(case.x, verbose=0), case.outputs)
    # Random encoders draw the same again.
    same(
        snn.models.spike_rates(keras.models.load_model(path), case.x),
        {name: x.mean() for name, x in case.trains.items()},
    )


# What is measured.


@tool
def spike_rates(case):
    same(
        snn.models.spike_rates(case.build(), case.x),
        {name: x.mean() for name, x in case.trains.items()},
    )


@tool
def monitor(case):
    model = case.build()
    model.compile("sgd", _loss())
    watch = snn.callbacks.SpikeRateMonitor(case.x, warn=False)
    # It measures after the epoch, which is to change nothing.
    model.optimizer.learning_rate = 0.0
    _frozen(model)
    logs = model.fit(case.x, case.y, verbose=0, callbacks=[watch]).history
    found = {k: v[0] for k, v in logs.items() if k.endswith("_spike_rate")}
    expected = {f"{n}_spike_rate": x.mean() for n, x in case.trains.items()}
    if case.plan.encoder == "poisson":
        # Measured after other draws.
        assert list(found) == list(expected)
    else:
        same(found, expected)


def _frozen(model):
    """Keep statistics, which change without a learning rate."""
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 1.0


@tool
def record(case):
    if len(case.build().inputs) > 1:
        case.refuses(lambda m: snn.analysis.record(m, case.x), "2 inputs")
        return
    recording = snn.analysis.record(case.build(), case.x)
    found = {n: x for n, x in recording.spikes.items() if n in case.trains}
    same(found, case.trains)
    for name, train in case.trains.items():
        potential = recording.potentials[name]
        np.testing.assert_array_equal(
            potential > recording.thresholds[name], train > 0
        )
    if case.loops:
        close(recording.outputs["readout"][:, -1], case.readout)


@tool
def profile(case):
    if len(case.build().inputs) > 1:
        case.refuses(lambda m: snn.analysis.profile(m, case.x), "2 inputs")
        return
    if not case.loops:
        case.refuses(lambda m: snn.analysis.profile(m, case.x), "'readout'")
        return
    found = snn.analysis.profile(case.build(), case.x)
    same(
        {x.name: x.spikes for x in found.layers if x.neuron},
        {name: x.sum() / len(x) for name, x in case.trains.items()},
    )
    # Operations do not depend on how the network is built.
    plain = snn.analysis.profile(case.build("functional"), case.x)
    assert found.layers == plain.layers


@tool
def latency_curve(case):
    def curve(model):
        return snn.analysis.latency_curve(model, case.x, case.y)

    if len(case.build().inputs) > 1:
        return case.refuses(curve, "2 inputs")
    if not case.loops:
        return case.refuses(curve, "'readout'")
    found = curve(case.build())
    assert found.time_steps == case.plan.time_steps
    close(found.accuracy[-1], _accuracy(case.outputs, case.y))
    total = sum(float(x.sum()) for x in case.trains.values())
    close(found.spikes[-1], total / len(case.y))


# Streams and files.


def _frames(case, model):
    """Return the source's sequence, and what a stream takes besides."""
    x = case.x if isinstance(case.x, list) else [case.x]
    sequence, *sides = x
    if case.plan.encoder is not None:
        encoder = case.reference().model.get_layer("encoder")
        sequence = keras.ops.convert_to_numpy(encoder(sequence))
    return sequence, sides


@tool
def streaming(case):
    if not case.loops:
        return case.refuses(snn.streaming, "'readout'")
    if case.plan.inputs == "two":
        return case.refuses(snn.streaming, "one spike train", "2")
    step = snn.streaming(case.build())
    sequence, sides = _frames(case, step)
    state = step.initial_state(len(case.y))
    for t in range(sequence.shape[1]):
        scores, *state = step([sequence[:, t], *sides, *state])
    close(scores, case.outputs)


@tool(tensorflow_only=True)
def saved_model(case):
    import tensorflow as tf

    path = case.folder / "served"
    description = snn.export.saved_model(case.build(), path)
    loaded = tf.saved_model.load(str(path))
    flat = case.x if isinstance(case.x, list) else [case.x]
    arguments = [tf.constant(x) for x in flat]
    close(
        loaded.serve(arguments if len(flat) > 1 else arguments[0]), case.outputs
    )
    # Random encoders draw the same again.
    loaded = tf.saved_model.load(str(path))
    rates = loaded.spike_rates(arguments if len(flat) > 1 else arguments[0])
    expected = {name: x.mean() for name, x in case.trains.items()}
    same({name: rates[name] for name in expected}, expected)
    assert description["spiking_layers"] == list(expected)
    if not case.loops:
        assert "'readout'" in description["missing"]["step"]
        return
    if case.plan.inputs == "two":
        assert "2" in description["missing"]["step"]
        return
    sequence, sides = _frames(case, loaded)
    more = [{"side": tf.constant(x)} for x in sides]
    state = loaded.initial_state(len(case.y))
    for t in range(sequence.shape[1]):
        scores, state = loaded.step(tf.constant(sequence[:, t]), state, *more)
    close(scores, case.outputs)


@tool(tensorflow_only=True)
def onnx(case):
    runtime = pytest.importorskip("onnxruntime")
    path = case.folder / "model.onnx"
    if case.plan.encoder == "poisson":

        def write(model):
            snn.export.onnx(model, path)

        # Two sources have an encoder each.
        return case.refuses(write, "'encoder", "(PoissonEncoder)", "random")
    snn.export.onnx(case.build(), path)
    session = runtime.InferenceSession(str(path))
    names = [x.name for x in session.get_inputs()]
    flat = case.x if isinstance(case.x, list) else [case.x]
    (scores,) = session.run(["scores"], dict(zip(names, flat, strict=True)))
    close(scores, case.outputs)


@tool
def with_time_steps(case):
    """More steps give the numbers of a network built with so many."""
    if case.plan.encoder is None:
        return case.refuses(
            lambda m: snn.training.with_time_steps(m, 9), "no encoder", "9"
        )
    plan = dataclasses.replace(case.plan, time_steps=9)
    expected = drawing.build(plan, model_type=keras.Model)
    found = snn.training.with_time_steps(case.build(), 9)
    expected = untraced(expected).predict(case.x, verbose=0)
    close(found.predict(case.x, verbose=0), expected)


@tool
def nir(case):
    def graph(model):
        return snn.export.to_nir(model)

    try:
        written = graph(case.build("functional"))
    except ValueError as error:
        # The reason may name models; the layers it names are the same.
        lines = [x for x in str(error).splitlines() if x.startswith("- ")]
        assert lines or "'" in str(error), error
        return case.refuses(graph, *lines)
    again = graph(case.build())
    assert list(written.nodes) == list(again.nodes)
    assert sorted(written.edges) == sorted(again.edges)
    readout = "spike_count" if case.plan.readout == "count" else None
    model = snn.export.from_nir(again, readout)
    sequence, _ = _frames(case, model)
    close(model.predict(sequence, verbose=0), case.readout)


def tools_of(seed):
    """Return the names of the few tools that a seed is for."""
    names = [
        x
        for x in TOOLS
        if keras.config.backend() == "tensorflow" or x not in ON_TENSORFLOW_ONLY
    ]
    # Training has more ways to go than the others.
    weights = np.array([3.0 if x == "fit" else 1.0 for x in names])
    rng = np.random.default_rng([seed, 3])
    chosen = rng.choice(names, 2, replace=False, p=weights / weights.sum())
    return [str(x) for x in chosen]


def run(seed, names=None, folder=None):
    """Check the network of a seed with some tools, by default its own."""
    rng = np.random.default_rng([seed, 2])
    on_tensorflow = keras.config.backend() == "tensorflow"
    names = tools_of(seed) if names is None else names
    for name in names:
        style = str(rng.choice(drawing.STYLES))
        case = Case(seed, style, folder)
        on = on_tensorflow and bool(rng.random() < 0.6)
        with engine(on):
            try:
                TOOLS[name](case)
            except Exception as error:
                error.add_note(
                    f"seed {seed}, {name}, {case.style}, engine {on}, "
                    f"{case.plan}"
                )
                raise


def main():
    """Check many seeds, each with all tools, and print what fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs=2, default=(0, 2000))
    parser.add_argument("--tools", nargs="*", choices=list(TOOLS))
    arguments = parser.parse_args()
    failed = 0
    for seed in range(*arguments.seeds):
        for name in arguments.tools or TOOLS:
            keras.backend.clear_session()
            with tempfile.TemporaryDirectory() as folder:
                try:
                    run(seed, [name], folder)
                except Exception:
                    failed += 1
                    traceback.print_exc()
    print(f"{failed} failed")
    raise SystemExit(bool(failed))


if __name__ == "__main__":
    main()
