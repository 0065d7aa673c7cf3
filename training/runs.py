"""A run folder: what one training leaves behind.

``run.json`` (config, seed, fold, FeatureSpec with statistics, clips), ``model.keras``,
``history.csv`` and ``learning-curve.png``. A run is complete once ``run.json`` is
there: it is written last.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import pathlib
import shutil
import zipfile
from collections.abc import Sequence
from typing import Any

from edge_ser import bundle
from edge_ser.errors import ConfigError
from edge_ser.features import FeatureSpec
from training import plots
from training.config import Config, digest, parse
from training.corpora import Clip
from training.errors import RunError

CHECKPOINT = "checkpoint.npz"
"""What an unfinished training goes on from."""


@dataclasses.dataclass(frozen=True)
class Run:
    """A finished training."""

    folder: pathlib.Path
    config: Config
    seed: int
    fold: int | None
    """None trained on every speaker."""
    spec: FeatureSpec
    data: pathlib.Path
    """Where the corpora lay."""
    clips: frozenset[str]
    """``corpus/name`` of every training clip."""
    heard_before: frozenset[str] = frozenset()
    """Those of the runs that it learned from: its teachers, what it started from."""
    skip_bad: bool = False
    """Whether unreadable clips were left out."""
    temperature: float = 1.0
    """What its logits are divided by before the softmax."""

    def model(self) -> Any:
        """The Keras model.

        Raises:
            RunError: missing or damaged.
        """
        from conversion.views import LAYERS
        from training.keras import tf_keras

        file = self.folder / "model.keras"
        try:
            return tf_keras.models.load_model(
                file, custom_objects=LAYERS, compile=False
            )
        except (OSError, ValueError) as error:
            raise RunError(f"{file}: no model can be loaded from it") from error

    def trained_on(self, clip: Clip) -> bool:
        """Whether the clip was a training clip."""
        return clip_key(clip) in self.clips

    def has_heard(self, clip: Clip) -> bool:
        """Whether the clip taught it, or a network that it learned from."""
        return clip_key(clip) in self.clips | self.heard_before


def clip_key(clip: Clip) -> str:
    """``corpus/name``."""
    return f"{clip.corpus}/{clip.name}"


def load(folder: pathlib.Path) -> Run:
    """Open a run folder, or the one within what `own` leaves behind.

    Raises:
        RunError: it holds no finished run, or one whose config was edited since.
    """
    if not (folder / "run.json").exists() and (folder / "run/run.json").exists():
        folder = folder / "run"
    try:
        values = json.loads((folder / "run.json").read_text())
        # Of the values as they were written: a later version's config has more keys.
        if digest(values["config"]) != values["config_digest"]:
            raise RunError(
                f"{folder}/run.json: its config is not the one it was trained with; "
                "undo what was edited there, or train anew"
            )
        return Run(
            folder=folder,
            config=parse(values["config"]),
            seed=values["seed"],
            fold=values["fold"],
            spec=FeatureSpec.from_dict(values["features"]),
            data=pathlib.Path(values["data"]),
            clips=frozenset(values["clips"]),
            heard_before=frozenset(values.get("heard_before", ())),
            skip_bad=values.get("skip_bad", False),
            temperature=values.get("temperature", 1.0),
        )
    except (FileNotFoundError, NotADirectoryError) as error:
        raise RunError(f"{folder} holds no finished run (no run.json)") from error
    except (ValueError, KeyError, TypeError, ConfigError) as error:
        raise RunError(f"{folder}/run.json is damaged: {error}") from error


def load_of(folder: pathlib.Path, config: Config) -> Run:
    """Open a run folder that is to be of this config.

    Raises:
        RunError: it is of another; or see `load`.
    """
    run = load(folder)
    if run.config != config:
        raise RunError(
            f"{folder} was trained with another config; choose another --out"
        )
    return run


def save(
    folder: pathlib.Path,
    *,
    model: Any,
    config: Config,
    seed: int,
    fold: int | None,
    spec: FeatureSpec,
    data: pathlib.Path,
    clips: Sequence[Clip],
    history: Sequence[dict[str, float]],
    forebears: Sequence[Run] = (),
    skip_bad: bool = False,
) -> Run:
    """Write a run folder; ``run.json`` comes last, so a partial one is no run.

    What a former run left there (its bundles and predictions) goes first.

    Args:
        forebears: the runs that it learned from.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for stale in ("run.json", "predictions.csv"):
        (folder / stale).unlink(missing_ok=True)
    shutil.rmtree(folder / "bundles", ignore_errors=True)
    save_model(model, folder / "model.keras")
    columns = sorted({key for row in history for key in row}, key=_history_order)
    with (folder / "history.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(history)
    plots.learning_curve(history, folder / "learning-curve.png")
    values = {
        "config": config.to_dict(),
        "config_digest": config.digest,
        "seed": seed,
        "fold": fold,
        "features": spec.to_dict(),
        "data": str(data.resolve()),
        "skip_bad": skip_bad,
        "clips": [clip_key(clip) for clip in clips],
        "heard_before": sorted(
            frozenset().union(*(one.clips | one.heard_before for one in forebears))
        ),
    }
    write(folder / "run.json", json.dumps(values, indent=1))
    (folder / CHECKPOINT).unlink(missing_ok=True)
    return load(folder)


def read_history(file: pathlib.Path) -> list[dict[str, float]]:
    """A row an epoch; a quantity that was not looked at is not in it.

    Raises:
        RunError: damaged.
    """
    try:
        with file.open(newline="") as opened:
            return [
                {key: float(value) for key, value in row.items() if value}
                for row in csv.DictReader(opened)
            ]
    except (ValueError, TypeError, csv.Error) as error:
        raise RunError(f"{file}: no learning history: {error}") from error


def kept_epoch(folder: pathlib.Path) -> dict[str, float]:
    """The row of a run's history whose weights were kept."""
    history = read_history(folder / "history.csv")
    return next(row for row in reversed(history) if row.get("kept"))


def write(file: pathlib.Path, text: str) -> None:
    """Write a text file whole, or leave what was there; its folder is made."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{file.name}.partial")
    partial.write_text(text)
    os.replace(partial, file)


def with_temperature(run: Run, temperature: float) -> Run:
    """The run under another temperature, also in its folder.

    Its bundles get the new one in their cards; what was predicted goes.
    """
    if temperature == run.temperature:
        return run
    (run.folder / "predictions.csv").unlink(missing_ok=True)
    for file in (run.folder / "bundles").glob("*.tflite"):
        found = bundle.read(file)
        card = dataclasses.replace(found.card, temperature=temperature)
        bundle.write(file, card, found.model)
    values = json.loads((run.folder / "run.json").read_text())
    values["temperature"] = temperature
    write(run.folder / "run.json", json.dumps(values, indent=1))
    return load(run.folder)


def without_data(run: Run, folder: pathlib.Path) -> pathlib.Path:
    """A copy of a run to fine-tune from: its network, and no trace of the machine.

    Raises:
        RunError: it cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    save_model(run.model(), folder / "model.keras")
    values = json.loads((run.folder / "run.json").read_text())
    config = dataclasses.replace(
        run.config,
        recipe=dataclasses.replace(run.config.recipe, start_from=""),
        distillation=dataclasses.replace(run.config.distillation, teachers=()),
    )
    values |= {"config": config.to_dict(), "config_digest": config.digest, "data": "."}
    write(folder / "run.json", json.dumps(values, indent=1))
    return folder


def save_model(model: Any, file: pathlib.Path) -> None:
    """Write a Keras model whole, or leave nothing; packed, for a third less.

    Raises:
        RunError: it cannot be written (a full disk, say).
    """
    from training.keras import tf

    partial = file.with_name(f"partial-{file.name}")
    try:
        model.save(partial)
        _pack(partial)
        os.replace(partial, file)
    except (OSError, tf.errors.OpError) as error:
        partial.unlink(missing_ok=True)
        raise RunError(f"{file} cannot be written: {error}") from error


def _pack(file: pathlib.Path) -> None:
    """Compress what Keras stores as it is: its weights file is part gaps."""
    with zipfile.ZipFile(file) as stored:
        parts = {name: stored.read(name) for name in stored.namelist()}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in parts.items():
            packed.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)


def _history_order(column: str) -> tuple[bool, str]:
    return (column != "epoch", column)
