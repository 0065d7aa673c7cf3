"""Layers with which a network hears each window several times and answers once.

They know nothing of training: a network is trained as if they were not there.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tf_keras


class _OfViews(tf_keras.layers.Layer):
    """A layer that knows how many views there are."""

    def __init__(self, views: int, **told: Any) -> None:
        super().__init__(**told)
        self.views = views

    def get_config(self) -> dict[str, Any]:
        """What makes it again."""
        return {**super().get_config(), "views": self.views}


@tf_keras.utils.register_keras_serializable("edge_ser")
class HalfBandViews(_OfViews):
    """Instead of each window, after training, the same half a band lower and higher.

    From (batch, frames, bands, 1) to (views * batch, frames, bands, 1), where a third
    view is the window itself; in training nothing is changed. A network that strides
    over bands does not answer alike to all of them, nor err alike. Half a band away is
    the mean of neighbours, which pooling computes.
    """

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """The views of the first window, of the second, and so on."""
        if training:
            return inputs
        _, frames, bands, channels = inputs.shape
        between = tf.nn.avg_pool2d(inputs, (1, 2), 1, "VALID")
        lower = tf.concat([inputs[:, :, :1], between], axis=2)
        higher = tf.concat([between, inputs[:, :, -1:]], axis=2)
        itself = [inputs] if self.views == 3 else []
        views = tf.concat([lower, *itself, higher], axis=1)
        return tf.reshape(views, (-1, frames, bands, channels))


@tf_keras.utils.register_keras_serializable("edge_ser")
class MeanOfViews(_OfViews):
    """What was heard of all views, averaged: (views * batch, n) to (batch, n)."""

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """The mean; in training, where there is one view, the input itself."""
        if training:
            return inputs
        # Not the MEAN operator: the int8 kernels of average pooling round alike.
        heard = tf.reshape(inputs, (-1, self.views, 1, inputs.shape[-1]))
        mean = tf.nn.avg_pool2d(heard, (self.views, 1), 1, "VALID")
        return tf.reshape(mean, (-1, inputs.shape[-1]))


LAYERS = {layer.__name__: layer for layer in (HalfBandViews, MeanOfViews)}
"""For Keras, when it loads a network that has them."""
