"""Keras for the training stage: version 2, which pruning needs, and quiet."""

from __future__ import annotations

import os

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import tensorflow as tf
import tf_keras

__all__ = ["limit_threads", "tf", "tf_keras"]


def limit_threads(threads: int) -> None:
    """Compute with this many threads; call before the first operation."""
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
