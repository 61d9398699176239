"""One of the processes whose training `test_distribution.py` compares.

    python -m tests.training.worker_program FOLDER PROCESS PROCESSES PORT

Writes what it finds into `FOLDER/<processes>-<process>.npz`.
"""

import pathlib
import sys
import warnings

import keras
import numpy as np

import keras_snn as snn

RULES = {
    "collapsed": keras.optimizers.SGD,
    "rate": keras.optimizers.Adam,
    "exact": keras.optimizers.SGD,
    "arctan": keras.optimizers.Adam,
}
SAMPLES, BATCH, EPOCHS = 21, 8, 7  # 21 updates, the third of each of 5 samples
random = np.random.default_rng(0)
X = random.random((SAMPLES, 6), dtype="float32")
Y = np.eye(3, dtype="float32")[random.integers(0, 3, SAMPLES)]


def network(rule):
    """Return a small network with all that is drawn or averaged."""
    inputs = keras.Input((6,))
    x = snn.layers.PoissonEncoder(2, seed=1)(inputs)
    # A bias before a normalization has no gradient but rounding errors.
    dense = keras.layers.Dense(8, use_bias=rule != "rate")
    x = snn.layers.TimeFold(dense)(x)
    if rule == "rate":
        x = snn.layers.TimeFold(keras.layers.BatchNormalization())(x)
    x = snn.layers.LIF(threshold=0.5, learning_rule=rule, name="lif")(x)
    x = snn.layers.TimeConstantDropout(0.25, seed=2)(x)
    x = snn.layers.TimeFold(keras.layers.Dense(3))(x)
    model = snn.Model(inputs, snn.layers.MembraneReadout()(x))
    optimizer = RULES[rule](0.01)
    model.compile(optimizer, "mse", metrics=["accuracy"])
    return model


def weights(model):
    """Return weights and statistics, without the counters of seeds."""
    return np.concatenate(
        [
            np.ravel(keras.ops.convert_to_numpy(w))
            for w in model.weights
            if "seed" not in w.path
        ]
    )


class Batches(keras.utils.PyDataset):
    """The same batches as arrays in order."""

    def __len__(self):
        return -(-SAMPLES // BATCH)

    def __getitem__(self, index):
        part = slice(index * BATCH, (index + 1) * BATCH)
        return X[part], Y[part]


def generator():
    for _ in range(EPOCHS):
        for index in range(len(Batches())):
            yield Batches()[index]


def dataset():
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices((X, Y)).batch(BATCH)


def rules(found):
    """Train by each rule, on shuffled data; return the first model."""
    for rule in RULES:
        keras.utils.set_random_seed(5)
        model = network(rule)
        history = model.fit(X, Y, BATCH, EPOCHS, verbose=0).history
        found[f"weights {rule}"] = weights(model)
        found[f"loss {rule}"] = history["loss"]
        found[f"accuracy {rule}"] = history["accuracy"]
        if rule == "collapsed":
            measures(found, model)
            # What is compiled serves all that follows.
            kept = model
    return kept


def begin_again(model):
    """Give a model the weights and seeds that it had at the beginning."""
    keras.utils.set_random_seed(5)
    fresh = network("collapsed")
    model.set_weights(fresh.get_weights())
    for ours, theirs in zip(seeds(model), seeds(fresh)):
        ours.assign(keras.ops.convert_to_numpy(theirs))


def seeds(model):
    return [v for v in model.variables if "seed" in v.path]


def measures(found, model):
    """Measure a model, by what is to be the same in all processes."""
    held_out = X[:9], Y[:9]
    found["evaluate"] = model.evaluate(*held_out, batch_size=BATCH, verbose=0)
    found["predict"] = model.predict(X, batch_size=BATCH, verbose=0)
    rates = snn.models.spike_rates(model, X, batch_size=BATCH)
    found["spike_rates"] = list(rates.values())
    profile = snn.analysis.profile(model, X[:BATCH])
    found["profile"] = [profile.effective_acs, profile.samples]


def kinds_of_data(found, model):
    """Train on each kind of data, in order, with one compiled step."""
    for name, data, more in (
        ("arrays", X, {"y": Y, "batch_size": BATCH, "shuffle": False}),
        ("PyDataset", Batches(), {"shuffle": False}),
        ("generator", generator(), {"steps_per_epoch": 3}),
        ("tf.data", dataset(), {}),
    ):
        begin_again(model)
        model.fit(data, epochs=EPOCHS, verbose=0, **more)
        found[f"data {name}"] = weights(model)


def callbacks(found, model, folder):
    """Have callbacks write, all into one folder as users would."""
    begin_again(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on silent neurons
        monitor = snn.callbacks.SpikeRateMonitor(X, folder / "logs")
        history = model.fit(
            X,
            Y,
            BATCH,
            2,
            verbose=0,
            validation_data=(X[:9], Y[:9]),
            callbacks=[
                monitor,
                keras.callbacks.CSVLogger(folder / "log.csv"),
                keras.callbacks.ModelCheckpoint(folder / "{epoch}.keras"),
            ],
        ).history
    for name in ("lif_spike_rate", "val_loss", "val_accuracy"):
        found[f"history {name}"] = history[name]


def refusal(function, *arguments, **options):
    """Return the message of the `ValueError` that a call raises."""
    try:
        function(*arguments, **options)
    except ValueError as error:
        return str(error)
    return "no error"


def refusals(found, model, process):
    """Give processes what does not fit together."""
    other = X + process
    found["refused other data"] = refusal(model.fit, other, Y, BATCH, verbose=0)
    backup = keras.callbacks.BackupAndRestore("unused")
    found["refused backup"] = refusal(
        model.fit, X, Y, BATCH, callbacks=[backup], verbose=0
    )
    found["refused list"] = refusal(model.fit, [[1.0]], [[1.0]], verbose=0)

    def fails_in_first():
        raise ValueError("the disk")

    found["refused in first"] = refusal(
        snn.running.processes.from_first, fails_in_first
    )


def own_parts(found, model, process):
    """Train on a part of each process' own, and on uneven ones."""
    keras.distribution.distribution().auto_shard_dataset = False
    # The rows that it would take of batches of all.
    mine = np.arange(16).reshape(2, 2, 4)[:, process].ravel()
    begin_again(model)
    model.fit(X[mine], Y[mine], 4, EPOCHS, shuffle=False, verbose=0)
    found["own"] = weights(model)
    uneven = X[: 9 + process], Y[: 9 + process]
    found["refused samples"] = refusal(model.fit, *uneven, 4, verbose=0)

    def own_batches():
        yield X[:4], Y[:4]
        yield X[: 4 - process], Y[: 4 - process]

    found["refused batch"] = refusal(model.fit, own_batches(), verbose=0)


def reference_of_own_parts(found, model):
    begin_again(model)
    model.fit(X[:16], Y[:16], BATCH, EPOCHS, shuffle=False, verbose=0)
    found["own"] = weights(model)


def main(folder, process, processes, port):
    keras.utils.set_random_seed(3)
    where = (f"127.0.0.1:{port}", processes, process)
    snn.training.distribute(
        *where if processes > 1 else (), heartbeat_timeout=10
    )
    found = {}
    model = rules(found)
    kinds_of_data(found, model)
    callbacks(found, model, folder / f"files{processes}")
    if processes > 1:
        refusals(found, model, process)
        own_parts(found, model, process)
    else:
        reference_of_own_parts(found, model)
    np.savez(folder / f"{processes}-{process}.npz", **found)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), *map(int, sys.argv[2:]))
