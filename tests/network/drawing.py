"""Small networks drawn from a seed, each built in several styles.

Weights, inputs, thresholds and decays lie on a dyadic grid: float32 sums of
them are exact in any order, so that no order of work moves a spike.
"""

import collections
import dataclasses
import zlib

import keras
import numpy as np

import keras_snn as snn
from keras_snn.layers.spiking_layer import SpikingLayer

L, TimeFold, S = keras.layers, snn.layers.TimeFold, snn.layers

CLASSES, SAMPLES = 3, 4
RULES = ("collapsed", "exact", "rate", "arctan")
STYLES = ("functional", "sequential", "nested", "nested_twice")
BLOCKS_OF_VECTORS = (
    "synapses",
    "synapses",
    "normalized",
    "residual",
    "joined",
    "shared",
    "twice",
    "dropout",
    "folded",
)
BLOCKS_OF_IMAGES = (*BLOCKS_OF_VECTORS, "average", "maximum", "rate_maximum")
ENCODERS = {
    "rate": S.RateEncoder,
    "latency": S.LatencyEncoder,
    "repeat": S.RepeatEncoder,
    "poisson": lambda T, name: S.PoissonEncoder(T, seed=1, name=name),
}


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a seed decides before a layer is made.

    Attributes:
        seed: The seed.
        rule: How all neurons learn.
        frame: Shape of one frame of the input.
        time_steps: Number of steps T.
        is_open: Whether the model leaves T open; without encoder only.
        encoder: A name in `ENCODERS`, or None.
        inputs: `"one"`; `"two"` sequences; or a `"side"` input, which is
            joined behind the readout.
        blocks: Names of blocks of layers.
        readout: `"membrane"`, `"count"`, or `"whole"`: a layer that works on
            the whole sequence, so that no loop over time fits.
    """

    seed: int
    rule: str
    frame: tuple
    time_steps: int
    is_open: bool
    encoder: str | None
    inputs: str
    blocks: tuple
    readout: str

    @property
    def has_images(self):
        return len(self.frame) == 3


def draw(seed):
    """Return the `Plan` of a seed."""
    rng = np.random.default_rng(seed)
    frame = (6,) if rng.random() < 0.5 else (4, 4, 2)
    blocks = BLOCKS_OF_VECTORS if len(frame) == 1 else BLOCKS_OF_IMAGES
    encoder = None
    if rng.random() < 0.5:
        encoder = str(rng.choice(list(ENCODERS)))
    readouts = ("membrane", "membrane", "count")
    if len(frame) == 1:
        readouts += ("whole",)
    kinds = tuple(map(str, rng.choice(blocks, rng.integers(1, 4))))
    if set(kinds) == {"dropout"}:
        # A spiking network spikes.
        kinds += ("synapses",)
    return Plan(
        seed=seed,
        rule=RULES[seed % len(RULES)],
        frame=frame,
        time_steps=int(rng.integers(3, 7)),
        is_open=encoder is None and rng.random() < 0.5,
        encoder=encoder,
        inputs=str(rng.choice(["one", "one", "one", "two", "side"])),
        blocks=kinds,
        readout=str(rng.choice(readouts)),
    )


def data(plan):
    """Return `(x, y)`: a list of arrays, one an input, and one-hot labels."""
    rng = np.random.default_rng([plan.seed, 1])
    x = [_sequences(plan, rng)]
    if plan.inputs == "two":
        x.append(_sequences(plan, rng))
    if plan.inputs == "side":
        x.append(rng.integers(-4, 5, (SAMPLES, 2)) / np.float32(4))
    x = [a.astype("float32") for a in x]
    labels = rng.integers(0, CLASSES, SAMPLES)
    return x, np.eye(CLASSES, dtype="float32")[labels]


def _sequences(plan, rng):
    if plan.encoder is not None:
        return rng.integers(-8, 9, (SAMPLES, *plan.frame)) / 8
    return rng.random((SAMPLES, plan.time_steps, *plan.frame)) < 0.5


def build(plan, style="functional", model_type=snn.Model):
    """Return the network of a plan, with its weights.

    Args:
        plan: The `Plan`.
        style: One of `STYLES`.
        model_type: Type of the model, and of those in it, unless they are
            Sequential.
    """
    return Builder(plan, style, model_type).model


class Builder:
    """A network under construction: layers by name, and outputs by call.

    Attributes:
        model: The model.
        layers: Dict from names to the layers.
        trains: Dict from names of calls of neurons to their symbolic outputs,
            in forward order; in functional style.
    """

    def __init__(self, plan, style="functional", model_type=snn.Model):
        self.plan, self.style, self.model_type = plan, style, model_type
        self.layers, self.trains = {}, {}
        self._calls = collections.Counter()
        self._items = []
        self.model = self._build()
        for name, layer in self.layers.items():
            self._set_weights(name, layer)

    def random(self, name):
        """Return a generator of random numbers for one name."""
        return np.random.default_rng(
            [self.plan.seed, zlib.crc32(name.encode())]
        )

    # Layers, each made once.

    def layer(self, name, make):
        if name not in self.layers:
            self.layers[name] = make(name)
        return self.layers[name]

    def fold(self, name, make):
        return self.layer(name, lambda name: TimeFold(make(name), name=name))

    def synapses(self, name, shape, width):
        """Return a layer with weights for sequences of a shape."""
        rng = self.random(name)
        bias = bool(rng.random() < 0.4)
        if len(shape) == 3:
            return self.fold(name, lambda n: L.Dense(width, None, bias, name=n))
        size = int(rng.integers(1, 4))
        return self.fold(
            name,
            lambda n: L.Conv2D(
                width, size, padding="same", use_bias=bias, name=n
            ),
        )

    def neuron(self, name):
        rng, rule = self.random(name), self.plan.rule
        options = {
            "threshold": float(rng.choice([0.5, 0.75, 1.0])),
            "reset": str(rng.choice(["zero", "subtract"])),
            "learning_rule": rule,
        }
        beta = float(rng.choice([0.5, 0.75]))
        kinds = [
            lambda n: S.LIF(beta, name=n, **options),
            lambda n: S.IF(name=n, **options),
        ]
        if rule == "arctan":
            kinds += [
                lambda n: S.PLIF(0.5, name=n, **options),
                lambda n: S.ALIF(
                    beta, amplitude=0.125, rho=0.5, name=n, **options
                ),
                lambda n: S.SynapticLIF(beta, alpha=0.5, name=n, **options),
            ]
        return self.layer(name, kinds[rng.integers(len(kinds))])

    def _set_weights(self, name, layer):
        rng = self.random(f"weights of {name}")
        for w in layer.weights:
            if w.name in ("kernel", "bias"):
                w.assign(rng.integers(-4, 8, w.shape) / 8)
            elif w.name in ("gamma", "beta", "moving_mean"):
                w.assign(rng.integers(1, 5, w.shape) / 4)
            elif w.name == "moving_variance":
                w.assign(np.full(w.shape, 1.0 - layer.layer.epsilon))

    # Calls.

    def call(self, stages, x):
        """Call layers, and functions of a symbolic tensor, one by one."""
        for stage in stages:
            if not isinstance(stage, keras.Layer):
                x = stage(x)
                continue
            x = stage(x)
            self._calls[stage.name] += 1
            number = self._calls[stage.name]
            name = stage.name + ("" if number == 1 else f"_call{number}")
            if isinstance(stage, SpikingLayer):
                self.trains[name] = x
        return x

    def wrapped(self, name, stages, shape):
        """Return stages as a model of its own."""
        rng = self.random(f"model of {name}")
        shape = list(shape[1:])
        if len(shape) > 1 and rng.random() < 0.3 and self.plan.is_open:
            shape[0] = None
        inputs = keras.Input(shape)
        plain = all(isinstance(x, keras.Layer) for x in stages)
        if plain and rng.random() < 0.5:
            return keras.Sequential([inputs, *stages], name=f"{name}_model")
        outputs = self.call(stages, inputs)
        return self.model_type(inputs, outputs, name=f"{name}_model")

    def add(self, name, stages, x):
        """Return the output of stages in the style of this network."""
        if self.style == "sequential":
            for i, stage in enumerate(stages):
                if not isinstance(stage, keras.Layer):
                    stage = self.wrapped(f"{name}_{i}", [stage], x.shape)
                self._items.append(stage)
                x = stage(x)
            return x
        if self.style == "functional":
            return self.call(stages, x)
        return self.wrapped(name, stages, x.shape)(x)

    # The network.

    def _build(self):
        plan = self.plan
        inputs = [self._input("input")]
        if plan.inputs == "two":
            x = self._two(inputs)
            x = self._chain(x)
        elif self.style == "nested_twice":
            within = self._input("within")
            outer = self.model_type(
                within, self._chain(self._encoded(within, "")), name="within"
            )
            x = outer(inputs[0])
        else:
            x = self._chain(self._encoded(inputs[0], ""))
        if self.style == "sequential":
            return keras.Sequential(
                [self._input("input"), *self._items], name="network"
            )
        if plan.inputs == "side":
            side = keras.Input((2,), name="side")
            inputs.append(side)
            x = L.Concatenate(name="join")([x, side])
            x = self.call(
                [self.layer("last", lambda n: L.Dense(CLASSES, name=n))], x
            )
        return self.model_type(
            inputs if len(inputs) > 1 else inputs[0], x, name="network"
        )

    def _input(self, name):
        plan = self.plan
        if plan.encoder is not None:
            return keras.Input(plan.frame, name=name)
        steps = None if plan.is_open else plan.time_steps
        return keras.Input((steps, *plan.frame), name=name)

    def _encoded(self, x, suffix):
        plan, name = self.plan, f"encoder{suffix}"
        if plan.encoder is None:
            return x
        encoder = self.layer(
            name, lambda n: ENCODERS[plan.encoder](plan.time_steps, name=n)
        )
        return self.add(name, [encoder], x)

    def _two(self, inputs):
        inputs.append(self._input("input2"))
        both = []
        for suffix, x in zip("ab", inputs):
            x = self._encoded(x, suffix)
            name = f"front_{suffix}"
            stages = [
                self.synapses(f"{name}_synapses", x.shape, 4),
                self.neuron(f"{name}_neuron"),
            ]
            both.append(self.add(name, stages, x))
        if self.random("join").random() < 0.5:
            return L.Add(name="join")(both)
        return L.Concatenate(name="join")(both)

    def _chain(self, x):
        for i, kind in enumerate(self.plan.blocks):
            name = f"block{i}"
            stages = getattr(self, f"_{kind}")(name, x.shape)
            x = self.add(name, stages, x)
        return self.add("head", self._head(x.shape), x)

    def _head(self, shape):
        stages = []
        if len(shape) > 3:
            stages.append(self.fold("flatten", lambda n: L.Flatten(name=n)))
            shape = (*shape[:2], int(np.prod(shape[2:])))
        stages.append(self.synapses("scores", shape, CLASSES))
        if self.plan.readout == "membrane":
            rule = "arctan" if self.plan.rule == "arctan" else "collapsed"
            return [
                *stages,
                self.layer(
                    "readout",
                    lambda n: S.MembraneReadout(
                        0.75, learning_rule=rule, name=n
                    ),
                ),
            ]
        stages.append(self.neuron("scores_neuron"))
        make = S.SpikeCountReadout
        if self.plan.readout == "whole":
            make = L.GlobalAveragePooling1D
        return [*stages, self.layer("readout", lambda n: make(name=n))]

    # Blocks: each returns layers, or functions of a symbolic tensor.

    def _synapses(self, name, shape):
        return [
            self.synapses(f"{name}_synapses", shape, 4),
            self.neuron(f"{name}_neuron"),
        ]

    def _normalized(self, name, shape):
        first, last = self._synapses(name, shape)
        norm = self.fold(
            f"{name}_norm",
            lambda n: L.BatchNormalization(epsilon=2.0**-10, name=n),
        )
        return [first, norm, last]

    def _folded(self, name, shape):
        """Several layers in one TimeFold."""
        if len(shape) == 3:
            inner = [
                L.Reshape((2, -1), name=f"{name}_reshape"),
                L.Permute((2, 1), name=f"{name}_permute"),
                L.Flatten(name=f"{name}_flatten"),
            ]
        else:
            inner = [
                L.ZeroPadding2D(1, name=f"{name}_padding"),
                L.AveragePooling2D(2, name=f"{name}_mean"),
            ]
        last = self._synapses(name, shape)
        return [
            self.fold(
                f"{name}_fold", lambda n: keras.Sequential(inner, name=n)
            ),
            *last,
        ]

    def _dropout(self, name, shape):
        return [
            self.layer(
                f"{name}_dropout",
                lambda n: S.TimeConstantDropout(0.5, seed=3, name=n),
            )
        ]

    def _residual(self, name, shape):
        width = shape[-1]
        path = [
            self.synapses(f"{name}_first", shape, 4),
            self.neuron(f"{name}_middle"),
            self.synapses(f"{name}_second", (*shape[:-1], 4), width),
        ]
        add, last = L.Add(name=f"{name}_add"), self.neuron(f"{name}_neuron")
        return [lambda x: self.call([last], add([self.call(path, x), x]))]

    def _joined(self, name, shape):
        path = self._synapses(name, shape)
        join = L.Concatenate(name=f"{name}_join")
        return [lambda x: join([self.call(path, x), x])]

    def _shared(self, name, shape):
        """One layer with weights called twice, between other neurons."""
        layer = self.synapses(f"{name}_shared", shape, shape[-1])
        neurons = [self.neuron(f"{name}_neuron{i}") for i in "12"]
        stages = [layer, neurons[0], layer, neurons[1]]
        return [lambda x: self.call(stages, x)]

    def _twice(self, name, shape):
        """A layer and its neurons called twice: one inner model, if nested."""
        stages = [
            self.synapses(f"{name}_synapses", shape, shape[-1]),
            self.neuron(f"{name}_neuron"),
        ]
        if self.style == "functional":
            return [lambda x: self.call(stages * 2, x)]

        def call(x):
            inner = self.wrapped(f"{name}_inner", stages, shape)
            return inner(inner(x))

        return [call]

    def _average(self, name, shape):
        return self._pooled(name, shape, L.AveragePooling2D)

    def _maximum(self, name, shape):
        return self._pooled(name, shape, L.MaxPooling2D)

    def _pooled(self, name, shape, kind):
        pool = self.fold(
            f"{name}_pool", lambda n: kind(2, padding="same", name=n)
        )
        return [pool, self.neuron(f"{name}_neuron")]

    def _rate_maximum(self, name, shape):
        pool = self.layer(
            f"{name}_pool",
            lambda n: S.MaxRatePooling2D(2, padding="same", name=n),
        )
        return [pool, *self._synapses(name, shape)]
