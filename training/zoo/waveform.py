"""End to end, from the samples of the waveform: a small fully convolutional network.

M5 of Dai, Dai, Qu, Li & Das 2017, "Very deep convolutional neural networks for raw
waveforms", ICASSP, arXiv:1610.00087: a first kernel of 10 ms as a learnt filter bank,
kernels of 3 after it, batch norm and pooling by 4 after each of the four convolutions,
channels that double with the last two, then the mean over time. Theirs hears 8 kHz and
has twice the channels; this one hears 16 kHz, with a first kernel and stride of the
same durations.
"""

from __future__ import annotations

import dataclasses

from training.keras import tf_keras

layers = tf_keras.layers


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """What a config's ``[model]`` table may set."""

    channels: tuple[int, ...] = (64, 64, 128, 256)
    first_kernel: int = 160
    """In samples, as `first_stride`."""
    first_stride: int = 8


def build(
    frames: int, n_features: int, n_classes: int, settings: Settings
) -> tf_keras.Model:
    """The network, from (frames, n_features) to class logits; a frame is a sample."""
    x = inputs = layers.Input((frames, n_features), name="samples")
    kernel, stride = settings.first_kernel, settings.first_stride
    for channels in settings.channels:
        x = layers.Conv1D(
            channels, kernel, strides=stride, padding="same", use_bias=False
        )(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
        x = layers.MaxPooling1D(4, padding="same")(x)
        kernel, stride = 3, 1
    # Average pooling, not the MEAN operator: its int8 kernels round alike everywhere.
    x = layers.Flatten()(layers.AveragePooling1D(x.shape[1])(x))
    return tf_keras.Model(inputs, layers.Dense(n_classes, name="logits")(x))
