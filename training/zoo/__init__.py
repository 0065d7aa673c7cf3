"""Architectures, one a module with ``Settings`` and ``build``.

To add one, write such a module and list it in `ARCHITECTURES`.
"""

from __future__ import annotations

import importlib
import typing
from typing import Any

from edge_ser.errors import ConfigError
from training.config import checked_value

ARCHITECTURES = (
    "resnet2d",
    "light_sernet",
    "timnet",
    "lstm_stacked",
    "cnn1d_lstm",
    "transformer",
    "reslstm",
    "lstm_attention",
    "cnn1d",
    "cnn2d",
    "bilstm",
    "bigru",
    "lstm3",
    "cnn2d_lstm",
    "spectrogram_transformer",
    "waveform",
)
_OF_SAMPLES = ("waveform",)


def takes_samples(architecture: str) -> bool:
    """Whether a frame of its input is one sample, not features of many.

    The device computes features of every window, so that no bundle is made of it; it is
    here to be compared.
    """
    return architecture in _OF_SAMPLES


def build(
    architecture: str,
    frames: int,
    n_features: int,
    n_classes: int,
    settings: dict[str, Any],
) -> Any:
    """A Keras model from (frames, n_features) to class logits.

    Raises:
        ConfigError: an unknown architecture or setting, or sizes that do not fit.
    """
    if architecture not in ARCHITECTURES:
        raise ConfigError(
            f"unknown architecture {architecture!r}; valid: {', '.join(ARCHITECTURES)}"
        )
    if takes_samples(architecture) and n_features != 1:
        raise ConfigError(
            f"{architecture} takes samples: n_mels is {n_features}; valid: 1, and "
            "frames of hop_ms one sample"
        )
    module = importlib.import_module(f"training.zoo.{architecture}")
    hints = typing.get_type_hints(module.Settings)
    for name in settings:
        if name not in hints:
            raise ConfigError(
                f"{architecture} has no setting {name!r}; valid: {', '.join(hints)}"
            )
    values = {k: checked_value(k, v, hints[k]) for k, v in settings.items()}
    try:
        return module.build(frames, n_features, n_classes, module.Settings(**values))
    except (ValueError, IndexError, ZeroDivisionError) as error:
        # Keras answers impossible sizes with a page; its first line says the most.
        reason = str(error).strip().splitlines()[0]
        raise ConfigError(f"{architecture} cannot be built: {reason}") from error
