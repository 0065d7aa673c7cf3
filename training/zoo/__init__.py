"""Architectures, one a module with ``Settings`` and ``build``.

To add one, write such a module and list it in `ARCHITECTURES`.
"""

from __future__ import annotations

import dataclasses
import importlib
from typing import Any

from edge_ser.errors import ConfigError

ARCHITECTURES = ("resnet2d",)


def build(
    architecture: str,
    frames: int,
    n_features: int,
    n_classes: int,
    settings: dict[str, Any],
) -> Any:
    """A Keras model from (frames, n_features) to class logits.

    Raises:
        ConfigError: an unknown architecture or setting.
    """
    if architecture not in ARCHITECTURES:
        raise ConfigError(
            f"unknown architecture {architecture!r}; valid: {', '.join(ARCHITECTURES)}"
        )
    module = importlib.import_module(f"training.zoo.{architecture}")
    known = [field.name for field in dataclasses.fields(module.Settings)]
    for name in settings:
        if name not in known:
            raise ConfigError(
                f"{architecture} has no setting {name!r}; valid: {', '.join(known)}"
            )
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()}
    return module.build(frames, n_features, n_classes, module.Settings(**values))
