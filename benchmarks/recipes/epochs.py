"""Training as one JAX program of many updates, images augmented on the device.

`model.fit` calls the device once an update and augments images on the host. An
accelerator that takes three milliseconds an update would wait for both. Here
`lax.scan` makes a program of `UPDATES` updates, and draws flips, shifts and
squares in it. Rule, loss and optimizer are those of `fit`.
"""

import functools
import time

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import keras_snn as snn
from keras_snn.datasets import scaling
from keras_snn.training import optimizers

# Updates in a program. XLA's convolutions on a CPU are slow within loops: there
# it is one.
UPDATES = 40 if jax.default_backend() != "cpu" else 1


def shifted(image, move, most):
    """Return an image moved by up to `most` pixels, mirrored at its border."""
    padded = jnp.pad(image, ((most, most), (most, most), (0, 0)), "reflect")
    return lax.dynamic_slice(padded, (move[0], move[1], 0), image.shape)


def without_square(image, centre, side):
    """Return an image with a square of zeros."""
    rows = jnp.arange(image.shape[0])[:, None] - centre[0] + side // 2
    columns = jnp.arange(image.shape[1])[None] - centre[1] + side // 2
    inside = (rows >= 0) & (rows < side) & (columns >= 0) & (columns < side)
    return jnp.where(inside[..., None], 0.0, image)


def turned(image, angle, zoom):
    """Return an image turned about its centre and enlarged."""
    middle = (jnp.array(image.shape[:2]) - 1) / 2
    y, x = jnp.indices(image.shape[:2])
    y, x = (y - middle[0]) / zoom, (x - middle[1]) / zoom
    rows = jnp.cos(angle) * y - jnp.sin(angle) * x + middle[0]
    columns = jnp.sin(angle) * y + jnp.cos(angle) * x + middle[1]
    sample = functools.partial(
        jax.scipy.ndimage.map_coordinates,
        coordinates=[rows, columns],
        order=1,
        mode="constant",
    )
    return jax.vmap(sample, -1, -1)(image)


def augmented(images, flips, key, recipe):
    """Return images, each moved, mirrored and partly hidden."""
    count, height, width, _ = images.shape
    keys = jax.random.split(key, 4)
    if recipe.get("flip"):
        images = jnp.where(
            flips[:, None, None, None], images[:, :, ::-1], images
        )
    if recipe.get("turn"):
        angles = jax.random.uniform(keys[2], (count,), minval=-1.0)
        zooms = jax.random.uniform(keys[3], (count,), minval=-1.0)
        angles = angles * np.deg2rad(recipe["turn"])
        images = jax.vmap(turned)(images, angles, 1 + recipe["zoom"] * zooms)
    most = recipe.get("shift", 0)
    if most:
        moves = jax.random.randint(keys[0], (count, 2), 0, 2 * most + 1)
        images = jax.vmap(functools.partial(shifted, most=most))(images, moves)
    side = recipe.get("cutout", 0)
    if side:
        sides = jnp.array([height, width])
        centres = jax.random.randint(keys[1], (count, 2), 0, sides)
        hide = functools.partial(without_square, side=side)
        images = jax.vmap(hide)(images, centres)
    return images


class Trainer:
    """A model, its optimizer, and the compiled programs for both.

    Args:
        model: A Keras model, built.
        recipe: The row's dictionary.
        data: Tuple of uint8 images and integer labels, on the device, and the
            `DatasetInfo`.
    """

    def __init__(self, model, recipe, data):
        self.model, self.recipe = model, recipe
        self.images, self.labels, self.info = data
        self.loss = snn.losses.CrossEntropy(
            label_smoothing=recipe["label_smoothing"]
        )
        decay = recipe["weight_decay"] / 0.1
        self.optimizer = optimizers.KernelDecaySGD(
            0.1, momentum=0.9, nesterov=True, weight_decay=decay
        )
        self.optimizer.build(model.trainable_variables)
        self.rate_at = next(
            i
            for i, v in enumerate(self.optimizer.variables)
            if v is self.optimizer.learning_rate
        )
        self.state = [
            [jnp.array(v.value) for v in variables]
            for variables in (
                model.trainable_variables,
                model.non_trainable_variables,
                self.optimizer.variables,
            )
        ]
        batch = recipe["batch_size"]
        self.compiled = jax.jit(self._updates, donate_argnums=0).lower(
            self.state,
            jnp.zeros((UPDATES, batch), "int32"),
            jnp.zeros((UPDATES, batch), bool),
            jnp.zeros(UPDATES, "float32"),
            jax.random.key(0),
            self.images,
            self.labels,
        )
        self.compiled = self.compiled.compile()
        self._scores = jax.jit(self._predict)

    def _scaled(self, images):
        return scaling.scale(images.astype("float32"), self.info)

    def _updates(self, state, indices, flips, rates, key, images, labels):
        def loss_of(trainable, others, x, y):
            scores, others, losses = self.model.stateless_call(
                trainable, others, x, training=True, return_losses=True
            )
            y = jax.nn.one_hot(y, self.info.classes)
            hits = jnp.mean(scores.argmax(-1) == y.argmax(-1))
            loss = self.loss(y, scores)
            return loss + sum(losses), (loss, hits, others)

        def update(state, given):
            trainable, others, optimizer = state
            index, flip, rate, key = given
            x = self._scaled(images[index])
            x = augmented(x, flip, key, self.recipe)
            (_, (loss, hits, others)), gradients = jax.value_and_grad(
                loss_of, has_aux=True
            )(trainable, others, x, labels[index])
            optimizer = list(optimizer)
            optimizer[self.rate_at] = rate
            trainable, optimizer = self.optimizer.stateless_apply(
                optimizer, gradients, trainable
            )
            return [list(trainable), list(others), list(optimizer)], (
                loss,
                hits,
            )

        keys = jax.random.split(key, UPDATES)
        given = indices, flips, rates, keys
        if UPDATES == 1:
            state, found = update(state, [x[0] for x in given])
            return state, [x[None] for x in found]
        return lax.scan(update, state, given)

    def _predict(self, trainable, others, images):
        x = self._scaled(images)
        scores, _ = self.model.stateless_call(
            trainable, others, x, training=False
        )
        return scores

    def accuracy(self, samples):
        """Return the accuracy on some of the images, as they are."""
        hits, size = 0, 500
        for first in range(0, len(samples), size):
            index = samples[first : first + size]
            images = self.images[index]
            scores = self._scores(*self.state[:2], images)
            hits += int(jnp.sum(scores.argmax(-1) == self.labels[index]))
        return hits / len(samples)

    def weights(self):
        """Put the trained weights into the model, and return them."""
        variables = (
            self.model.trainable_variables,
            self.model.non_trainable_variables,
        )
        for ours, values in zip(variables, self.state):
            for variable, value in zip(ours, values):
                variable.assign(value)
        return self.model.get_weights()

    def fit(self, samples, held_out, epochs, peak, seconds, seed):
        """Train, and return the history of epochs.

        The rate rises along a line in the first fifth and falls along another.
        It falls with the time that is left where that is shorter than the
        epochs asked for.

        Args:
            samples: Indices of the training images.
            held_out: Indices of those to watch.
            epochs: Number of epochs.
            peak: Highest learning rate.
            seconds: How long it may take.
            seed: Integer.
        """
        batch = self.recipe["batch_size"]
        random = np.random.default_rng(seed)
        first_flips = random.integers(0, 2, int(samples.max()) + 1)
        total = epochs * (len(samples) // batch)
        rate_of = snn.training.Triangular(peak, total)
        start, done, history, epoch = time.perf_counter(), 0, [], 0
        progress, rows = 0.0, []
        pending = np.zeros(0, "int32"), np.zeros(0, bool)
        before = start
        while progress < 1.0:
            while len(pending[0]) < UPDATES * batch:
                order = random.permutation(samples)
                flips = (first_flips[order] + epoch) % 2 == 1
                pending = (
                    np.concatenate([pending[0], order]),
                    np.concatenate([pending[1], flips]),
                )
                epoch += 1
            index, flips = (
                x[: UPDATES * batch].reshape(UPDATES, batch) for x in pending
            )
            pending = tuple(x[UPDATES * batch :] for x in pending)
            # The mean pace so far tells where this program ends.
            time_share = (time.perf_counter() - start) / seconds
            pace = max(1 / total, time_share / done if done else 0.0)
            at = progress + pace * np.arange(UPDATES)
            rates = rate_of(at * total)
            self.state, (losses, hits) = self.compiled(
                self.state,
                jnp.asarray(index, "int32"),
                jnp.asarray(flips),
                jnp.asarray(rates, "float32"),
                jax.random.key(random.integers(2**31)),
                self.images,
                self.labels,
            )
            rows.append((np.mean(losses), np.mean(hits)))
            done += UPDATES
            progress = min(1.0, progress + pace * UPDATES)
            if progress >= 1.0 or done // (len(samples) // batch) > len(
                history
            ):
                now = time.perf_counter()
                loss, accuracy = np.mean(rows, 0)
                history.append(
                    {
                        "epoch": done * batch / len(samples),
                        "loss": float(loss),
                        "accuracy": float(accuracy),
                        "val_accuracy": self.accuracy(held_out),
                        "learning_rate": float(rates[-1]),
                        "seconds": now - before,
                    }
                )
                rows, before = [], now
        return history
