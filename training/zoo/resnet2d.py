"""A small residual 2-D convolutional network whose every operation quantizes.

After He et al. 2016, "Deep residual learning", arXiv:1512.03385, with attention
pooling after Lin et al. 2017, arXiv:1703.03130. Pools by maximum and mean alone: the
square root of standard-deviation pooling has no int8 kernel.
"""

from __future__ import annotations

import dataclasses

from conversion.views import HalfBandViews, MeanOfViews
from training.keras import tf_keras
from training.objective import SHARE

layers = tf_keras.layers

# Keras's 0.99 is too slow for some fifty steps an epoch.
_BN_MOMENTUM = 0.95


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """What a config's ``[model]`` table may set."""

    channels: tuple[int, ...] = (16, 28, 44, 64)
    """Of each block."""
    pools: tuple[tuple[int, ...], ...] = ()
    """Maximum pooling before each block, in frames and bands; (1, 1) is none. Not
    given: every block but the first halves both axes."""
    stem_kernel: int = 5
    over_frequency: int = 0
    """Channels of a convolution over all bands that are left; 0 takes their mean, which
    does not tell where in the spectrum something was."""
    over_time: int = 0
    """Residual blocks after that, of convolutions over three frames."""
    dropout: float = 0.3
    attention: bool = True
    """Pool by attention, too; without it every operation runs on an Edge TPU."""
    views: int = 1
    """How often the trained network hears each window, to answer by the mean: 2, half a
    band lower and half a band higher; 3, as it is, too. For as many times the MACs and
    no weight more; training knows nothing of it."""
    towers: int = 1
    """Networks of these channels side by side, whose logits are averaged: each learns
    for itself (`training.objective`), so that they err apart. Lakshminarayanan et al.
    2017, "Deep ensembles", arXiv:1612.01474."""


def build(
    frames: int, n_features: int, n_classes: int, settings: Settings
) -> tf_keras.Model:
    """The network, from (frames, n_features) to class logits."""
    if settings.towers < 1:
        raise ValueError(f"towers are {settings.towers}; valid: 1 and more")
    if settings.views not in (1, 2, 3):
        raise ValueError(f"views are {settings.views}; valid: 1, 2, 3")
    inputs = layers.Input((frames, n_features), name="features")
    x = layers.Reshape((frames, n_features, 1))(inputs)
    if settings.views > 1:
        x = HalfBandViews(settings.views, name="views")(x)
    if settings.towers == 1:
        logits = layers.Dense(n_classes, name="logits")(_pooled(x, settings, ""))
    else:
        # Each gives its share of the mean, so that a sum is enough.
        shares = [
            layers.Dense(n_classes, name=f"{SHARE}{tower}")(
                _pooled(x, settings, f"tower_{tower}_")
            )
            for tower in range(settings.towers)
        ]
        logits = layers.Add(name="logits")(shares)
    return tf_keras.Model(inputs, logits)


def _pooled(x, settings: Settings, prefix: str):  # type: ignore[no-untyped-def]
    """What one tower hears in a window."""
    x = layers.Conv2D(
        settings.channels[0],
        settings.stem_kernel,
        strides=2,
        padding="same",
        use_bias=False,
    )(x)
    x = layers.ReLU()(layers.BatchNormalization(momentum=_BN_MOMENTUM)(x))
    pools = settings.pools or ((1, 1), *[(2, 2)] * (len(settings.channels) - 1))
    if len(pools) != len(settings.channels):
        raise ValueError(
            f"pools are {pools}; valid: one for each of channels, "
            f"{len(settings.channels)}"
        )
    for pool, channels in zip(pools, settings.channels, strict=True):
        if pool != (1, 1):
            x = layers.MaxPooling2D(pool)(x)
        x = _block(x, channels)
    bands = x.shape[2]
    if settings.over_frequency:
        x = layers.Conv2D(settings.over_frequency, (1, bands), use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization(momentum=_BN_MOMENTUM)(x))
    else:
        # Not the MEAN operator: the int8 kernels of average pooling round alike.
        name = f"{prefix}mean_over_frequency"
        x = layers.AveragePooling2D((1, bands), name=name)(x)
    for _ in range(settings.over_time):
        x = _block(x, x.shape[-1], kernel=(3, 1))
    mean = layers.Flatten()(layers.AveragePooling2D((x.shape[1], 1))(x))
    x = layers.Reshape((x.shape[1], x.shape[3]))(x)
    pooled = [mean, layers.GlobalMaxPooling1D()(x)]
    if settings.attention:
        weights = layers.Softmax(axis=1, name=f"{prefix}attention")(layers.Dense(1)(x))
        attended = layers.Dot(axes=1)([weights, x])
        pooled = [layers.Flatten()(attended), *pooled]
    heard = layers.Concatenate()(pooled)
    if settings.views > 1:
        heard = MeanOfViews(settings.views, name=f"{prefix}mean_of_views")(heard)
    return layers.Dropout(settings.dropout)(heard)


def _block(x, channels: int, kernel=(3, 3)):  # type: ignore[no-untyped-def]
    shortcut = x
    if x.shape[-1] != channels:
        shortcut = layers.Conv2D(channels, 1, use_bias=False)(x)
        shortcut = layers.BatchNormalization(momentum=_BN_MOMENTUM)(shortcut)
    y = layers.Conv2D(channels, kernel, padding="same", use_bias=False)(x)
    y = layers.ReLU()(layers.BatchNormalization(momentum=_BN_MOMENTUM)(y))
    y = layers.Conv2D(channels, kernel, padding="same", use_bias=False)(y)
    y = layers.BatchNormalization(momentum=_BN_MOMENTUM)(y)
    return layers.ReLU()(layers.Add()([shortcut, y]))
