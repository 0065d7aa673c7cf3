"""Magnitude pruning: the smallest weights become zero, and stay so while fine-tuning.

Zhu & Gupta 2017, "To prune, or not to prune", arXiv:1710.01878, by TensorFlow's model
optimization toolkit. Zeros make the file compress better; they make no inference
faster.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from conversion.errors import ConversionError

MIN_KERNEL_SIZE = 2048
"""Smaller kernels (the stem, the last layer) gain little and lose much."""

FineTune = Callable[[Any, tuple[Any, ...]], None]
"""Fits the model it is given in place, with the callbacks it is given."""


def prune(model: Any, sparsity: float, fine_tune: FineTune) -> Any:
    """A pruned copy of a Keras model; the original stays as it is.

    Args:
        model: a functional Keras 2 model.
        sparsity: share of each kernel's weights that become zero, 0 to below 1.
        fine_tune: makes up for what was lost; see `FineTune`.

    Returns:
        The copy, without pruning wrappers.

    Raises:
        ConversionError: a sparsity out of range.
    """
    import tensorflow_model_optimization as tfmot
    import tf_keras

    if not 0 <= sparsity < 1:
        raise ConversionError(f"sparsity is {sparsity}; valid: 0 to below 1")
    sparsity_api = tfmot.sparsity.keras
    schedule = sparsity_api.ConstantSparsity(sparsity, begin_step=0, frequency=1)
    layers = tf_keras.layers
    prunable = (layers.Conv1D, layers.Conv2D, layers.Dense, layers.LSTM, layers.GRU)

    def wrap(layer: Any) -> Any:
        if isinstance(layer, prunable) and _kernel_size(layer) >= MIN_KERNEL_SIZE:
            return sparsity_api.prune_low_magnitude(layer, schedule)
        return layer

    # Wrapping would share the original's layers, and so prune them too.
    copy = tf_keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    wrapped = tf_keras.models.clone_model(copy, clone_function=wrap)
    # The toolkit wraps no attention, which has several inputs and kernels.
    attention = [
        weight
        for layer in wrapped.layers
        if isinstance(layer, layers.MultiHeadAttention)
        for weight in layer.trainable_weights
        if int(np.prod(weight.shape)) >= MIN_KERNEL_SIZE
    ]
    keep_zero = _KeepZero(attention, sparsity)
    fine_tune(wrapped, (sparsity_api.UpdatePruningStep(), keep_zero.callback()))
    keep_zero.assign()
    return sparsity_api.strip_pruning(wrapped)


class _KeepZero:
    """The smallest of each of some weights, which stay zero in training."""

    def __init__(self, weights: list[Any], sparsity: float) -> None:
        self._weights = weights
        self._masks = [_mask(weight.numpy(), sparsity) for weight in weights]

    def assign(self) -> None:
        """Make them zero again."""
        for weight, mask in zip(self._weights, self._masks, strict=True):
            weight.assign(weight * mask)

    def callback(self) -> Any:
        """For Keras: they are zero whenever the network answers."""
        import tf_keras

        return tf_keras.callbacks.LambdaCallback(
            on_train_begin=lambda logs: self.assign(),
            on_train_batch_end=lambda batch, logs: self.assign(),
        )


def _mask(values: Any, sparsity: float) -> Any:
    """0 for the share of values whose magnitudes are the smallest, else 1; float32.

    >>> _mask(np.array([[-3.0, 1.0], [2.0, 0.5]]), 0.5)
    array([[1., 0.],
           [1., 0.]], dtype=float32)
    """
    mask = np.ones(values.size, np.float32)
    order = np.argsort(np.abs(values), axis=None, kind="stable")
    mask[order[: round(values.size * sparsity)]] = 0
    return mask.reshape(values.shape)


def _kernel_size(layer: Any) -> int:
    """Of the largest: recurrent layers have two."""
    return max((int(np.prod(weight.shape)) for weight in layer.weights), default=0)
