"""A training configuration: one TOML file, checked as a whole before work starts."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pathlib
import tomllib
from typing import Any

from edge_ser.errors import ConfigError
from edge_ser.features import FeatureSpec
from training.augment import Augmentation
from training.labels import VOCABULARY


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """How the network is fitted: the ``[training]`` table."""

    epochs: int = 100
    batch_size: int = 64
    learning_rate: float = 2e-3
    """At its peak; rises over `warmup_epochs`, then falls to 0 as a cosine."""
    warmup_epochs: int = 3
    weight_decay: float = 0.02
    label_smoothing: float = 0.1
    class_weight_power: float = 0.5
    """Each class counts by its frequency to minus this: 0 as is, 1 fully balanced."""
    average_momentum: float = 0.998
    """Of the moving average of weights that is kept in the end; 0 keeps the last."""
    prune_sparsity: float = 0.5
    """Share of weights that the pruned variant sets to zero."""
    prune_epochs: int = 12
    prune_learning_rate: float = 5e-4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Everything that decides what a training makes, the seed and the data apart."""

    name: str
    corpora: tuple[str, ...]
    labels: tuple[str, ...]
    protocol: str
    """The folds that judge it: a name in the folds file."""
    architecture: str
    model: dict[str, Any]
    features: FeatureSpec
    augmentation: Augmentation
    recipe: Recipe
    decision_hop_s: float = 0.5
    """Step between windows when a clip or a stream is classified."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return dataclasses.asdict(self)

    @property
    def digest(self) -> str:
        """A hash of everything in it, for the ledger."""
        text = json.dumps(self.to_dict(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def hop_frames(self) -> int:
        """`decision_hop_s` in frames."""
        hop_ms = self.features.hop_samples * 1000 / self.features.sample_rate_hz
        return max(1, round(self.decision_hop_s * 1000 / hop_ms))


def load(path: pathlib.Path) -> Config:
    """Read and check a configuration.

    Raises:
        ConfigError: unreadable, not TOML, or a key or value that is not valid.
    """
    try:
        with path.open("rb") as file:
            return parse(tomllib.load(file))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, ConfigError) as error:
        raise ConfigError(f"{path}: {error}") from error


def parse(table: dict[str, Any]) -> Config:
    """The configuration in a parsed TOML table, or in what `Config.to_dict` gave.

    Raises:
        ConfigError: a key or value that is not valid.
    """
    table = dict(table)
    features = dict(table.pop("features", {}))
    if features.get("n_mfcc") == 0:  # TOML has no null
        features["n_mfcc"] = None
    sections: dict[str, Any] = {
        "features": FeatureSpec.from_dict(features),
        "augmentation": _section(Augmentation, table.pop("augmentation", {})),
        "recipe": _section(Recipe, table.pop("recipe", {})),
        "model": table.pop("model", {}),
    }
    config = _section(Config, {**table, **sections})
    unknown = [label for label in config.labels if label not in VOCABULARY]
    if unknown:
        raise ConfigError(f"unknown label {unknown[0]!r}; valid: {VOCABULARY}")
    if config.recipe.epochs < 1 or config.recipe.batch_size < 1:
        raise ConfigError("recipe: epochs and batch_size must be at least 1")
    return config


def _section(kind: Any, values: dict[str, Any]) -> Any:
    fields = {field.name: field for field in dataclasses.fields(kind)}
    for name in values:
        if name not in fields:
            raise ConfigError(f"unknown key {name!r}; valid: {', '.join(fields)}")
    required = [
        name
        for name, field in fields.items()
        if field.default is dataclasses.MISSING and name not in values
    ]
    if required:
        raise ConfigError(f"missing key {required[0]!r}")
    return kind(
        **{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    )


def json_protocol(path: pathlib.Path) -> str:
    """The protocol named in a saved configuration.

    Raises:
        ConfigError: unreadable.
    """
    try:
        return str(json.loads(path.read_text())["protocol"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path}: no saved configuration: {error}") from error
