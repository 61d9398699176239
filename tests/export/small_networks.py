"""The networks of the export table, small, and inputs for them."""

import keras
import numpy as np

import keras_snn as snn
from keras_snn.training.building import policy

T = 5
THROUGH_TIME = (
    snn.layers.PLIF,
    snn.layers.ALIF,
    snn.layers.SynapticLIF,
    snn.layers.RecurrentLIF,
)


def lively(model):
    """Scale the weights up, so that spikes reach the last layer."""
    model.set_weights([3 * w for w in model.get_weights()])
    return model


def lenet(**options):
    options = {"input_shape": (8, 8, 1), "width": 0.2, "seed": 0, **options}
    return lively(snn.models.LeNet(**options))


def fitted():
    model = lenet(encoder="rate", time_steps=T)
    model.compile("sgd", snn.losses.SummedSquaredError())
    model.fit(images(4), np.eye(10)[:4], verbose=0)
    return model


def vgg():
    return lively(
        snn.models.VGG5(
            input_shape=(8, 8, 1),
            width=1 / 16,
            seed=0,
            encoder=None,
            time_steps=T,
            learning_rule=snn.surrogates.FastSigmoid(slope=10.0),
            norm="none",
        )
    )


def resnet():
    return lively(
        snn.models.ResNet7(
            input_shape=(8, 8, 1),
            width=1 / 16,
            seed=0,
            encoder=None,
            time_steps=None,
            norm="none",
        )
    )


def mixed():
    with policy("mixed_bfloat16"):
        inputs, _, scores = by_hand()
        return snn.Model(inputs, scores)


def poisson():
    inputs, _, scores = by_hand(snn.layers.PoissonEncoder(T, seed=3))
    return snn.Model(inputs, scores)


def converted():
    keras.utils.set_random_seed(0)
    ann = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(4, 3, activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Flatten(),
            keras.layers.Dense(10),
        ]
    )
    return snn.conversion.convert(ann, images(16), time_steps=T)


def dense(units):
    initializer = keras.initializers.RandomNormal(stddev=0.7, seed=0)
    return keras.layers.Dense(units, kernel_initializer=initializer)


def by_hand(encoder=None):
    """Return symbolic images, spike trains and scores."""
    inputs = keras.Input((8, 8, 1), name="images")
    x = (encoder or snn.layers.RateEncoder(T))(inputs)
    x = snn.layers.TimeFold(keras.layers.Flatten())(x)
    trains = snn.layers.LIF()(snn.layers.TimeFold(dense(20))(x))
    currents = snn.layers.TimeFold(dense(10))(trains)
    return inputs, trains, snn.layers.MembraneReadout()(currents)


def layer_by_layer():
    inputs, _, scores = by_hand()
    return keras.Model(inputs, scores)


def spike_trains():
    inputs, trains, _ = by_hand()
    return snn.Model(inputs, trains)


def neurons():
    """Return a network of all neurons that learn through time only."""
    x = inputs = keras.Input((T, 8, 8, 1), name="trains")
    x = snn.layers.TimeFold(keras.layers.Flatten())(x)
    for neuron in THROUGH_TIME:
        x = neuron()(snn.layers.TimeFold(dense(12))(x))
    x = snn.layers.TimeFold(dense(10))(x)
    return snn.Model(inputs, snn.layers.MembraneReadout()(x))


def step_model():
    return snn.streaming(lenet(encoder=None, time_steps=None))


NETWORKS = {
    'LeNet, `encoder="rate"`, fitted': fitted,
    "`PoissonEncoder`": poisson,
    "VGG5, `encoder=None`, fixed T, surrogate": vgg,
    "ResNet7, `encoder=None`, any T": resnet,
    "`mixed_bfloat16`": mixed,
    "converted CNN": converted,
    "`keras.Model`, layer by layer": layer_by_layer,
    "`PLIF`, `ALIF`, `SynapticLIF`, `RecurrentLIF`": neurons,
    "spike trains as output": spike_trains,
    "step model of `streaming`": step_model,
}


def images(samples, seed=1):
    return np.random.default_rng(seed).random((samples, 8, 8, 1), "float32")


def spikes(samples, time_steps=T, seed=1):
    random = np.random.default_rng(seed)
    train = random.random((samples, time_steps, 8, 8, 1)) < 0.5
    return train.astype("float32")


def inputs_for(model, samples):
    """Return what a model, or a step model in T calls, is given."""
    sequence = len(model.inputs) > 1 or len(model.inputs[0].shape) == 5
    return spikes(samples) if sequence else images(samples)


def run_steps(step, sequence):
    """Return a step model's scores after all steps of a sequence."""
    state = step.initial_state(len(sequence))
    for t in range(sequence.shape[1]):
        scores, *state = step([sequence[:, t], *state])
    return keras.ops.convert_to_numpy(scores)
