"""Random seeds that differ between the replicas of a `tf.distribute` run."""

from __future__ import annotations

import keras
from keras import ops

from keras_snn.typing import Tensor


class ReplicaSeedGenerator(keras.random.SeedGenerator):
    """A seed generator whose seeds differ at each call and on each replica.

    Replicas share the seed variable, so a plain `SeedGenerator` gives all of
    them the same noise.
    """

    def next(self, ordered: bool = True) -> Tensor:
        seed = super().next(ordered=ordered)
        replica = _replica_id()
        if replica is None:
            return seed
        replica = ops.cast(replica, seed.dtype)
        # The second word counts calls; the first tells replicas apart.
        return ops.stack([seed[0] + replica * 7919, seed[1]])


def _replica_id():
    """Return this replica's number, or None where there is only one."""
    if keras.config.backend() != "tensorflow":
        return None
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return None
    return context.replica_id_in_sync_group
