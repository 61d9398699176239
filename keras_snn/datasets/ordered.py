"""Batches in an order that hangs on the seed and the epoch alone."""

import keras
import numpy as np

from keras_snn import checks

# What random numbers are for, so that no two purposes share a stream.
ORDER = 1


class OrderedBatches(keras.utils.PyDataset):
    """A data set that counts the epochs that it has been asked for.

    Subclasses tell `_is_asked` of each batch that is.

    Args:
        shuffle, seed, epoch, **kwargs: As in `AugmentedBatches`.
    """

    def __init__(self, shuffle, seed, epoch, **kwargs):
        super().__init__(**kwargs)
        self.shuffle = checks.flag("shuffle", shuffle)
        self.seed = checks.integer("seed", seed, 0)
        self.epoch = checks.integer("epoch", epoch, 0, "passes made")
        self._order = (None, None)
        self._begun, self._asked = False, set()

    def _is_asked(self, index):
        if not 0 <= index < len(self):
            raise IndexError(f"{index} is none of {len(self)} batches.")
        self._asked.add(index)

    def on_epoch_begin(self) -> None:
        self._begun = True

    def on_epoch_end(self) -> None:
        # Keras ends an epoch that it has not begun, before the first, and
        # begins one to look at a few batches. Other processes ask unseen.
        complete = len(self._asked) == len(self) or self.use_multiprocessing
        if self._begun and complete:
            self.epoch += 1
            self._asked.clear()
        self._begun = False

    def _random(self, *purpose):
        return np.random.default_rng([self.seed, *purpose])

    def _samples(self, epoch):
        """Return the samples of an epoch, in order."""
        if not self.shuffle:
            return np.arange(len(self.x))
        if self._order[0] != epoch:
            random = self._random(ORDER, epoch)
            self._order = epoch, random.permutation(len(self.x))
        return self._order[1]
