"""A training configuration: one TOML file, checked as a whole before work starts."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import pathlib
import re
import tomllib
import types
import typing
from collections.abc import Mapping
from typing import Any

from edge_ser.decision import IDLE, UNCERTAIN
from edge_ser.errors import ConfigError
from edge_ser.features import FeatureSpec
from training.augment import Augmentation
from training.labels import VOCABULARY
from training.targets import Distillation, Heads
from training.variation import Copies

SCHEDULES = ("cosine", "linear", "exponential", "steps", "constant")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """How the network is fitted: the ``[recipe]`` table."""

    epochs: int = 100
    batch_size: int = 64
    learning_rate: float = 2e-3
    """At its peak; rises over `warmup_epochs`, then follows `schedule`."""
    warmup_epochs: int = 3
    schedule: str = "cosine"
    """``cosine``, ``linear``, ``exponential``, ``steps`` or ``constant``; see
    `training.schedule`."""
    weight_decay: float = 0.02
    label_smoothing: float = 0.1
    class_weight_power: float = 0.5
    """Each class counts by its frequency to minus this: 0 as is, 1 fully balanced."""
    start_from: str = ""
    """A run folder whose weights the training begins with, as far as they fit."""
    balanced_sampling: bool = False
    """Each label is drawn equally often in an epoch; class weights are then 1."""
    clips_per_speaker: int = 0
    """At most so many clips of a speaker in an epoch, others in the next; 0: all. So a
    corpus of few speakers and many clips does not outweigh those of many speakers."""
    focal_gamma: float = 0.0
    """Of the focal loss; 0 is cross-entropy."""
    validation_every: int = 5
    """Epochs between looks at the validation speakers."""
    early_stopping_epochs: int = 0
    """Training ends when the validation speakers' UA has not risen for so many epochs,
    and the best epoch's weights are kept; 0: all epochs, and the last is kept."""
    optimizer: str = "adamw"
    """``adamw`` (with a weight decay of 0: Adam) or ``rmsprop``."""
    adam_betas: tuple[float, float] = (0.9, 0.999)
    """Of AdamW's averages of gradients and of their squares."""
    average_momentum: float = 0.998
    """Of the moving average of weights that is kept in the end; 0 keeps the last."""
    compute: str = "float32"
    """What the network's activations are while it is trained: ``float32``, or
    ``bfloat16`` (weights stay float32), about twice as fast where the processor
    multiplies it in hardware (AMX, AVX-512 BF16), slow elsewhere."""
    prune_sparsity: float = 0.5
    """Share of weights that the pruned variant sets to zero."""
    prune_epochs: int = 12
    prune_learning_rate: float = 5e-4

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "prune_epochs", "validation_every"):
            _require(name, getattr(self, name), 1, 1e6)
        for name in ("learning_rate", "prune_learning_rate"):
            _require(name, getattr(self, name), 1e-9, 10)
        for name in (
            "warmup_epochs",
            "clips_per_speaker",
            "weight_decay",
            "class_weight_power",
            "focal_gamma",
            "early_stopping_epochs",
        ):
            _require(name, getattr(self, name), 0, 1e6)
        for name in ("label_smoothing", "average_momentum", "prune_sparsity"):
            _require(name, getattr(self, name), 0, 0.9999)
        if self.balanced_sampling and self.clips_per_speaker:
            raise ConfigError(
                "balanced_sampling and clips_per_speaker both decide what an epoch "
                "holds; valid: one of them"
            )
        if self.compute not in ("float32", "bfloat16"):
            raise ConfigError(f"compute is {self.compute!r}; valid: float32, bfloat16")
        if self.schedule not in SCHEDULES:
            raise ConfigError(
                f"schedule is {self.schedule!r}; valid: {', '.join(SCHEDULES)}"
            )
        for beta in self.adam_betas:
            _require("adam_betas", beta, 0, 0.99999)
        if self.optimizer not in ("adamw", "rmsprop"):
            raise ConfigError(f"optimizer is {self.optimizer!r}; valid: adamw, rmsprop")


def _require(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise ConfigError(f"{name} is {value}; valid: {least:g} to {most:g}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Everything that decides what a training makes, the seed and the data apart."""

    name: str
    corpora: tuple[str, ...]
    labels: tuple[str, ...]
    protocol: str
    """The folds that judge it: see `training.protocol.load`."""
    architecture: str
    model: dict[str, Any]
    features: FeatureSpec
    augmentation: Augmentation
    recipe: Recipe
    copies: Copies = dataclasses.field(default_factory=Copies)
    heads: Heads = dataclasses.field(default_factory=Heads)
    distillation: Distillation = dataclasses.field(default_factory=Distillation)
    label_map: dict[str, str] = dataclasses.field(default_factory=dict)
    """Words for the labels of recordings of one's own; they may be new ones."""
    decision_hop_s: float = 0.5
    """Step between windows when a clip or a stream is classified."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", self.name):
            raise ConfigError(f"name is {self.name!r}; valid: a-z, 0-9 and hyphens")
        words = (*VOCABULARY, *self.label_map.values())
        unknown = [label for label in self.labels if label not in words]
        if unknown:
            raise ConfigError(
                f"unknown label {unknown[0]!r}; valid: {', '.join(words)}"
            )
        if len(self.labels) < 2 or len(set(self.labels)) != len(self.labels):
            raise ConfigError(
                f"labels are {self.labels}; valid: two or more, each once"
            )
        taken = [label for label in self.labels if label in (IDLE, UNCERTAIN)]
        if taken:
            raise ConfigError(
                f"a label is {taken[0]!r}, which events say of silence or doubt; "
                "valid: another word"
            )
        if not self.corpora or len(set(self.corpora)) != len(self.corpora):
            raise ConfigError(f"corpora are {self.corpora}; valid: some, each once")
        if not self.features.streams:
            raise ConfigError(
                "features: the device runs on streams; valid: padding 'none', no top_db"
            )
        bands_alone = self.features.n_mfcc is None and not self.features.deltas
        if self.model.get("views", 1) != 1 and not bands_alone:
            raise ConfigError(
                "model: views are moved by half a band; valid: log-mel without deltas "
                "(n_mfcc = 0, deltas = 0)"
            )
        window_s = self.features.model_samples / self.features.sample_rate_hz
        if not 0 < self.decision_hop_s <= window_s:
            raise ConfigError(
                f"decision_hop_s is {self.decision_hop_s}; valid: above 0, at most the "
                f"window's {window_s:.2f} s"
            )

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return dataclasses.asdict(self)

    @property
    def digest(self) -> str:
        """A hash of everything in it, for the ledger."""
        return digest(self.to_dict())

    @property
    def hop_frames(self) -> int:
        """`decision_hop_s` in frames."""
        hop_ms = self.features.hop_samples * 1000 / self.features.sample_rate_hz
        return max(1, round(self.decision_hop_s * 1000 / hop_ms))


def digest(values: dict[str, Any]) -> str:
    """A hash of what `Config.to_dict` gave, now or when there were fewer keys."""
    text = json.dumps(values, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def load(path: pathlib.Path) -> Config:
    """Read and check a configuration.

    Raises:
        ConfigError: unreadable, not TOML, or a key or value that is not valid.
    """
    table = read_toml(path)
    try:
        return parse(table)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def read_toml(path: pathlib.Path) -> dict[str, Any]:
    """The table in a TOML file.

    Raises:
        ConfigError: unreadable, or not TOML.
    """
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except ValueError as error:  # no TOML, or no UTF-8
        raise ConfigError(f"{path}: {error}") from error


def parse(table: dict[str, Any]) -> Config:
    """The configuration in a parsed TOML table, or in what `Config.to_dict` gave.

    Raises:
        ConfigError: a key or value that is not valid.
    """
    table = dict(table)
    features = table.pop("features", {})
    if not isinstance(features, dict):
        raise ConfigError(f"features is {features!r}; valid: a table")
    if features.get("n_mfcc") == 0:  # TOML has no null
        features = {**features, "n_mfcc": None}
    sections: dict[str, Any] = {
        "features": FeatureSpec.from_dict(features),
        "augmentation": _section(Augmentation, table.pop("augmentation", {})),
        "recipe": _section(Recipe, table.pop("recipe", {})),
        "copies": _section(Copies, table.pop("copies", {})),
        "heads": _section(Heads, table.pop("heads", {})),
        "distillation": _section(Distillation, table.pop("distillation", {})),
    }
    config = _section(Config, {"model": {}, **table, **sections})
    assert isinstance(config, Config)
    return config


def _section(kind: Any, values: Any) -> Any:
    """A settings object of a TOML table, its keys and types checked."""
    if not isinstance(values, dict):
        raise ConfigError(f"{kind.__name__.lower()} is {values!r}; valid: a table")
    hints = typing.get_type_hints(kind)
    for name in values:
        if name not in hints:
            raise ConfigError(f"unknown key {name!r}; valid: {', '.join(hints)}")
    for field in dataclasses.fields(kind):
        required = (
            field.default is dataclasses.MISSING
            and field.default_factory is dataclasses.MISSING
        )
        if required and field.name not in values:
            raise ConfigError(f"missing key {field.name!r}")
    return kind(**{k: checked_value(k, v, hints[k]) for k, v in values.items()})


def checked_value(name: str, value: Any, hint: Any) -> Any:
    """A TOML value as the annotated type; lists become tuples.

    Raises:
        ConfigError: it is of another type, or not finite.
    """
    if typing.get_origin(hint) is types.UnionType:
        if value is None and type(None) in typing.get_args(hint):
            return None
        hint = next(a for a in typing.get_args(hint) if a is not type(None))
    if typing.get_origin(hint) is dict:
        if not isinstance(value, dict):
            raise ConfigError(f"{name} is {value!r}; valid: a table")
        _, kind = typing.get_args(hint)
        if kind is Any:
            return value
        return {key: checked_value(key, item, kind) for key, item in value.items()}
    if typing.get_origin(hint) is tuple:
        items = typing.get_args(hint)
        fits = isinstance(value, (list, tuple)) and (
            items[-1] is Ellipsis or len(value) == len(items)
        )
        if not fits:
            raise ConfigError(f"{name} is {value!r}; valid: a list of {items}")
        return tuple(checked_value(name, item, items[0]) for item in value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if hint is float and isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{name} is {value}; valid: a finite number")
    plain = hint in (int, float, str, bool)
    if plain and (
        not isinstance(value, hint) or (hint is int and isinstance(value, bool))
    ):
        raise ConfigError(f"{name} is {value!r}; valid: {hint.__name__}")
    return value


def with_values(config: Config, values: Mapping[str, Any]) -> Config:
    """The config with settings changed.

    Raises:
        ConfigError: a setting that does not exist, or a value that is not valid.
    """
    tree = config.to_dict()
    for key, value in values.items():
        *path, last = key.split(".")
        place = tree
        for part in path:
            place = place.get(part) if isinstance(place, dict) else None
        if not isinstance(place, dict):
            raise ConfigError(f"the config has no setting {key!r}")
        place[last] = value
    return parse(tree)


def json_protocol(path: pathlib.Path) -> str:
    """The protocol named in a saved configuration.

    Raises:
        ConfigError: unreadable.
    """
    try:
        values = json.loads(path.read_text())
        return str(values.get("config", values)["protocol"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path}: no saved configuration: {error}") from error
