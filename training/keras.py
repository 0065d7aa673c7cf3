"""Keras for the training stage: version 2, which pruning needs, and quiet."""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Iterator
from typing import Any

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import tensorflow as tf
import tf_keras
import threadpoolctl
from tf_keras.src import backend

__all__ = ["computing_in", "limit_threads", "reseed", "set_seed", "tf", "tf_keras"]

# Dropout that draws from a generator which can be set anew: see `reseed`.
tf_keras.backend.experimental.enable_tf_random_generator()


def limit_threads(threads: int) -> None:
    """Compute with this many threads; call before the first operation.

    numpy's matrix products, too: further threads of theirs have next to nothing to do
    and wait by yielding, which took as much of shared processors as the training did.
    """
    threadpoolctl.threadpool_limits(threads)
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)


@contextlib.contextmanager
def computing_in(kind: str) -> Iterator[None]:
    """Layers built inside compute in ``float32`` or ``bfloat16``, weights in float32.

    Micikevicius et al. 2018, "Mixed precision training", arXiv:1710.03740; bfloat16 has
    float32's range, so it needs no loss scaling.
    """
    policy = {"float32": "float32", "bfloat16": "mixed_bfloat16"}[kind]
    before = tf_keras.mixed_precision.global_policy()
    tf_keras.mixed_precision.set_global_policy(policy)
    try:
        yield
    finally:
        tf_keras.mixed_precision.set_global_policy(before)


class _WholeNumbers(random.Random):
    """Keras 2.17 draws from 1 to 1e9, a float that Python 3.12 refuses as a bound."""

    def randint(self, a: float, b: float) -> int:
        return super().randint(int(a), int(b))


def set_seed(seed: int) -> None:
    """As `tf_keras.utils.set_random_seed`, with the same draws on every Python."""
    tf_keras.utils.set_random_seed(seed)
    backend._SEED_GENERATOR.generator = _WholeNumbers(seed)


def reseed(model: Any, seed: int, epoch: int) -> None:
    """Set what is random in a model's layers (dropout) for one epoch."""
    number = 0
    for layer in model.submodules:
        generator = getattr(
            getattr(layer, "_random_generator", None), "_generator", None
        )
        if generator is not None:
            generator.reset_from_seed((seed * 1_000_003 + epoch) * 1009 + number)
            number += 1
