"""Hyper-parameters, chosen on validation speakers alone.

A study is an Optuna study in SQLite (Akiba et al. 2019, arXiv:1907.10902): what is
finished stays, what was interrupted goes on. Test speakers take no part: a trial's
figure is the UA of speakers taken out of the training speakers.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import math
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import optuna
from sqlalchemy.exc import SQLAlchemyError

from edge_ser.errors import ConfigError
from training import runs, stages
from training.config import Config, read_toml, with_values
from training.dataset import FeatureSet
from training.errors import ProtocolError, RunError
from training.report import markdown_table

METHODS = ("grid", "random", "optuna")
_RANGE_KEYS = {"low", "high", "log"}


@dataclasses.dataclass(frozen=True)
class Dimension:
    """One setting to be searched: a list of choices, or a range."""

    key: str
    """``table.setting`` of the config, as ``recipe.learning_rate``."""
    choices: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    whole: bool = False

    @property
    def ends(self) -> tuple[Any, ...]:
        """All choices, or both ends of the range."""
        return self.choices or (self.low, self.high)

    def suggest(self, trial: optuna.Trial) -> Any:
        """A value for a trial."""
        if self.choices:
            return trial.suggest_categorical(self.key, self.choices)
        if self.whole:
            low, high = int(self.low), int(self.high)
            return trial.suggest_int(self.key, low, high, log=self.log)
        return trial.suggest_float(self.key, self.low, self.high, log=self.log)


def load_space(path: pathlib.Path) -> tuple[Dimension, ...]:
    """Read a search space: ``[search]`` with a line for each setting.

    ``"recipe.learning_rate" = { low = 1e-4, high = 1e-2, log = true }`` or
    ``"augmentation.mixup" = [0.0, 0.2]``.

    Raises:
        ConfigError: not such a file.
    """
    entries = read_toml(path).get("search")
    if not isinstance(entries, dict) or not entries:
        raise ConfigError(f"{path}: needs a table [search] with a setting or more")
    return tuple(_dimension(f"{path}: {key}", key, v) for key, v in entries.items())


def _dimension(where: str, key: str, value: Any) -> Dimension:
    if isinstance(value, list) and value:
        plain = all(isinstance(v, (int, float, str, bool)) for v in value)
        if plain:
            return Dimension(key, choices=tuple(value))
    if isinstance(value, dict) and {"low", "high"} <= set(value) <= _RANGE_KEYS:
        low, high, log = value["low"], value["high"], value.get("log", False)
        numbers = all(
            isinstance(v, (int, float)) and not isinstance(v, bool) and math.isfinite(v)
            for v in (low, high)
        )
        if numbers and isinstance(log, bool) and low < high and (low > 0 or not log):
            whole = isinstance(low, int) and isinstance(high, int)
            return Dimension(key, low=low, high=high, log=log, whole=whole)
    raise ConfigError(
        f"{where} is {value!r}; valid: a list of values, or low, high and log"
    )


def tune(
    config: Config,
    space: Sequence[Dimension],
    load: Callable[[Config], FeatureSet],
    data: pathlib.Path,
    out: pathlib.Path,
    *,
    method: str,
    trials: int,
    validation_speakers: Sequence[str],
    fold: int | None = None,
    seed: int = 0,
) -> str:
    """Search; returns the table of trials, best first.

    ``out/study.db`` holds the study, ``out/best.json`` the best config, and each trial
    has a run folder.

    Args:
        load: gives the features of a config: a trial may ask for others.
        method: of `METHODS`. A grid takes all choices, and so needs lists.
        trials: of the study in all, those finished before included.

    Raises:
        ConfigError: see `with_values`; a grid over a range.
        ProtocolError: no validation speakers.
        RunError: the study cannot be read or written.
    """
    if not validation_speakers:
        raise ProtocolError(
            "hyper-parameters are chosen on validation speakers: give "
            "--validation-speakers"
        )
    out.mkdir(parents=True, exist_ok=True)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    clips = [runs.clip_key(clip) for clip in load(config).clips]
    asked = _hash(config.digest, space, sorted(validation_speakers), fold, seed, clips)
    file = out / "study.db"
    with _storing(file):
        study = optuna.create_study(
            storage=f"sqlite:///{file.resolve()}",
            study_name=f"{config.name}-{asked}",
            sampler=_sampler(method, space, seed),
            direction="maximize",
            load_if_exists=True,
        )
        _take_up_interrupted(study)

    def objective(trial: optuna.Trial) -> float:
        chosen = with_values(config, {d.key: d.suggest(trial) for d in space})
        folder = out / f"trial-{asked}-{chosen.digest}"
        if not (folder / "run.json").exists():
            stages.train_run(
                chosen,
                load(chosen),
                data,
                folder,
                seed=seed,
                fold=fold,
                validation_speakers=validation_speakers,
            )
        ua = runs.kept_epoch(folder)["validation_ua"]
        print(f"trial {trial.number}: {100 * ua:.1f} UA, {trial.params}", flush=True)
        return ua

    done = sum(trial.value is not None for trial in study.trials)
    if method == "grid":
        trials = min(trials, math.prod(len(d.choices) for d in space))
    for number in range(done, trials):
        study.sampler = _sampler(method, space, seed, number)
        with _storing(file):
            study.optimize(objective, n_trials=1)
    best = with_values(config, study.best_params)
    runs.write(out / "best.json", json.dumps(best.to_dict(), indent=1) + "\n")
    return _table(study)


@contextlib.contextmanager
def _storing(file: pathlib.Path) -> Iterator[None]:
    try:
        yield
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        why = str(error.__cause__ or error).splitlines()[0]
        raise RunError(
            f"{file} cannot be used: {why}; make room if the disk is full, or remove "
            "the file: finished trials are not trained again"
        ) from error


def _hash(*asked: Any) -> str:
    """Of a search: only the same one goes on from what another left."""
    return hashlib.sha256(repr(asked).encode()).hexdigest()[:12]


def _sampler(
    method: str, space: Sequence[Dimension], seed: int, number: int = 0
) -> Any:
    """Draws the settings of the trial of a number.

    Each from a seed of its own: a study that goes on must not draw the same again.
    """
    drawn = (seed * 7919 + number) % 2**32
    if method == "random":
        return optuna.samplers.RandomSampler(seed=drawn)
    if method == "optuna":
        return optuna.samplers.TPESampler(seed=drawn)
    if method != "grid":
        raise ConfigError(f"method is {method!r}; valid: {', '.join(METHODS)}")
    ranges = [dimension.key for dimension in space if not dimension.choices]
    if ranges:
        raise ConfigError(f"a grid needs lists; {ranges[0]} is a range")
    return optuna.samplers.GridSampler(
        {dimension.key: dimension.choices for dimension in space}, seed=seed
    )


def _take_up_interrupted(study: optuna.Study) -> None:
    """What was running when the process ended is tried first, with the same values."""
    for trial in study.get_trials(deepcopy=False):
        if trial.state == optuna.trial.TrialState.RUNNING:
            study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
            if trial.params:
                study.enqueue_trial(trial.params, skip_if_exists=True)


def _table(study: optuna.Study) -> str:
    finished = [t for t in study.trials if t.value is not None]
    finished.sort(key=lambda trial: -(trial.value or 0))
    keys = sorted({key for trial in finished for key in trial.params})
    rows = [
        [
            str(trial.number),
            *(f"{trial.params.get(key, '')}" for key in keys),
            f"{100 * (trial.value or 0):.1f}",
        ]
        for trial in finished
    ]
    return markdown_table(["trial", *keys, "validation UA"], rows)
