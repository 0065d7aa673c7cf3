"""The table of an ablation, computed from its trials alone."""

from __future__ import annotations

import csv
import math
import os
import pathlib
from collections.abc import Sequence

import numpy as np

from training.errors import RunError
from training.report import markdown_table

FILE = "ablation.csv"
BASE = "the config itself"
_COLUMNS = (
    "change",
    "settings",
    "seed",
    "epochs",
    "validation_ua",
    "validation_clips",
    "validation_speakers",
    "protocol",
    "fold",
)

Trial = dict[str, str]


def write(folder: pathlib.Path, trials: Sequence[Trial]) -> None:
    """Save trials, a row each, at once."""
    partial = folder / f".{FILE}.partial"
    with partial.open("w", newline="") as file:
        writer = csv.DictWriter(file, _COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(trials)
    os.replace(partial, folder / FILE)


def read(folder: pathlib.Path) -> list[Trial]:
    """The trials in a folder.

    Raises:
        RunError: missing, damaged, or without the config itself.
    """
    path = folder / FILE
    try:
        with path.open(newline="") as file:
            trials = list(csv.DictReader(file))
        for number, trial in enumerate(trials, 2):
            if set(trial) != set(_COLUMNS) or None in trial.values():
                raise ValueError(f"line {number} has other columns")
            if not 0 <= float(trial["validation_ua"]) <= 1:
                raise ValueError(f"line {number}: the UA is no share")
    except (OSError, ValueError, csv.Error) as error:
        raise RunError(f"{path}: no table of trials: {error}") from error
    if not trials or trials[0]["change"] != BASE:
        raise RunError(f"{path}: holds no trial of {BASE}")
    return trials


def chance_range(base: Sequence[float], repeats: int) -> float:
    """How far the mean of `repeats` more trainings of the same may lie from `base`'s.

    In 95 of 100 cases: Student's prediction interval, ``t s sqrt(1 / m + 1 / n)``.

    Args:
        base: figures of `n` trainings that differ by their seed alone; two or more.
    """
    from scipy.stats import t

    spread = np.std(base, ddof=1)
    quantile = t.ppf(0.975, len(base) - 1)
    return float(quantile * spread * math.sqrt(1 / repeats + 1 / len(base)))


def markdown(trials: Sequence[Trial]) -> str:
    """The table: what each change gave, and whether chance alone would give as much."""
    figures: dict[str, list[float]] = {}
    settings: dict[str, str] = {}
    for trial in trials:
        ua = 100 * float(trial["validation_ua"])
        figures.setdefault(trial["change"], []).append(ua)
        settings[trial["change"]] = trial["settings"]
    base = figures[BASE]
    rows = []
    for name, values in figures.items():
        gain = float(np.mean(values) - np.mean(base))
        spread = f" ± {np.std(values, ddof=1):.1f}" if len(values) > 1 else ""
        told = ""
        if len(base) > 1 and name != BASE:
            far = abs(gain) > chance_range(base, len(values))
            told = "**yes**" if far else "no"
        rows.append(
            [
                name,
                f"`{settings[name]}`" if settings[name] else "",
                str(len(values)),
                f"{np.mean(values):.1f}{spread}",
                f"{gain:+.1f}" if name != BASE else "",
                told,
            ]
        )
    head = ["change", "settings", "seeds", "validation UA", "against the config"]
    return _about(trials[0], base) + markdown_table([*head, "more than chance"], rows)


def _about(trial: Trial, base: Sequence[float]) -> str:
    left_out = "nobody was left out for testing"
    if trial["fold"]:
        left_out = f"the test speakers of {trial['protocol']} fold {trial['fold']} had "
        left_out += "no part"
    lines = [
        f"UA of the validation speakers {trial['validation_speakers']} "
        f"({trial['validation_clips']} clips), percent, after {trial['epochs']} "
        f"epochs; {left_out}."
    ]
    if len(base) > 1:
        lines.append(
            f"The config itself was trained with {len(base)} seeds: in 95 of 100 "
            "cases one more training of it would come to within "
            f"±{chance_range(base, 1):.1f} of their mean. What lies within that may be "
            "the seed alone, and of twenty rows that change nothing one lies outside."
        )
    return "\n".join(lines) + "\n\n"
