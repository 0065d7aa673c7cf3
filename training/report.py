"""Published tables, recomputed from the saved predictions alone."""

from __future__ import annotations

import csv
import os
import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from training.config import json_protocol
from training.corpora.clip import UNKNOWN, Clip
from training.errors import RunError
from training.metrics import (
    Integers,
    Interval,
    Scored,
    confusion,
    intervals,
    paired_difference,
)

Rows = list[dict[str, str]]
Told = Mapping[tuple[str, str], Mapping[str, str]]
"""Gender and language by corpus and clip."""

RESULTS = pathlib.Path(__file__).parent / "results"
"""The committed evidence, a folder a configuration."""

_FIXED = ["corpus", "clip", "speaker", "fold", "seed", "variant", "label", "predicted"]
_CLIPS, _OF_CLIP = "clips.csv", ("corpus", "clip", "gender", "language")
_SHARE = re.compile(r"[01](\.\d+)?")
REFERENCE = "keras"
HONEST, LEAKY = "honest", "random-10fold-best-epoch"
"""The two variants that show what a leak is worth; see `training.leak`."""


def write_predictions(
    path: pathlib.Path, rows: Iterable[dict[str, Any]], labels: Sequence[str]
) -> None:
    """Save predictions, a row a clip and variant, at once."""
    columns = [*_FIXED, *(f"p_{label}" for label in labels)]
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    os.replace(partial, path)


def write_clips(folder: pathlib.Path, clips: Iterable[Clip]) -> None:
    """Save what is known of the predicted clips, where names do not tell it."""
    with (folder / _CLIPS).open("w", newline="") as file:
        writer = csv.DictWriter(file, _OF_CLIP, lineterminator="\n")
        writer.writeheader()
        for clip in clips:
            told = (clip.corpus, clip.name, clip.gender, clip.language)
            writer.writerow(dict(zip(_OF_CLIP, told, strict=True)))


def read_clips(folder: pathlib.Path) -> Told:
    """What `write_clips` saved, by corpus and clip; nothing if it did not.

    Raises:
        RunError: damaged.
    """
    file = folder / _CLIPS
    if not file.exists():
        return {}
    try:
        with file.open(newline="") as opened:
            return {(r["corpus"], r["clip"]): r for r in csv.DictReader(opened)}
    except (KeyError, UnicodeDecodeError, csv.Error) as error:
        raise RunError(f"{file}: no table of clips: {error}") from error


def read_predictions(path: pathlib.Path) -> tuple[tuple[str, ...], Rows]:
    """Labels, in the model's order, and the rows of a prediction file.

    Raises:
        RunError: missing, damaged, or no prediction file.
    """
    try:
        with path.open(newline="") as file:
            reader = csv.DictReader(file)
            columns = list(reader.fieldnames or [])
            rows = list(reader)
    except FileNotFoundError as error:
        raise RunError(f"{path}: no predictions") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise RunError(f"{path}: not a prediction file: {error}") from error
    if columns[: len(_FIXED)] != _FIXED:
        raise RunError(f"{path}: not a prediction file; columns {columns}")
    labels = tuple(c.removeprefix("p_") for c in columns[len(_FIXED) :])
    _check_rows(path, labels, rows)
    return labels, rows


def _check_rows(path: pathlib.Path, labels: tuple[str, ...], rows: Rows) -> None:
    """Every variant must speak as often of the same clips, and of known labels."""
    if not rows:
        raise RunError(f"{path}: holds no prediction")
    clips: dict[str, list[tuple[str, ...]]] = {}
    for number, row in enumerate(rows, 2):
        if None in row.values() or {row["label"], row["predicted"]} - set(labels):
            raise RunError(f"{path}: line {number} is cut, or has an unknown label")
        if not all(_SHARE.fullmatch(row[f"p_{label}"]) for label in labels):
            raise RunError(f"{path}: line {number} has a probability that is none")
        clips.setdefault(row["variant"], []).append(_by_clip(row))
    first = next(iter(clips.values()))
    if len(set(first)) != len(first):
        raise RunError(f"{path}: a clip is predicted twice in a fold")
    # The folds of a leaky variant are others.
    told = sorted(clip for *clip, _ in first)
    for variant, of_variant in clips.items():
        if sorted(clip for *clip, _ in of_variant) != told:
            raise RunError(f"{path}: {variant} does not speak of the same clips")


def _by_clip(row: Mapping[str, str]) -> tuple[str, ...]:
    """What a row answers to; folds that learn from one corpus each share test clips."""
    return row["seed"], row["corpus"], row["clip"], row["fold"]


def protocol_of(folder: pathlib.Path) -> str:
    """The protocol of a results or run folder.

    Raises:
        RunError: it holds no configuration.
    """
    for name in ("config.json", "run.json"):
        if (folder / name).exists():
            return json_protocol(folder / name)
    raise RunError(f"{folder}: neither config.json nor run.json")


def by_variant(rows: Rows) -> dict[str, Rows]:
    """Rows of each variant, sorted by seed and clip, so that variants pair up."""
    groups: dict[str, Rows] = {}
    for row in sorted(rows, key=_by_clip):
        groups.setdefault(row["variant"], []).append(row)
    return groups


def shown_variant(groups: Mapping[str, Rows]) -> str:
    """The variant that pictures and comparisons show: the last, but no leaky one."""
    return HONEST if HONEST in groups else list(groups)[-1]


def scored(rows: Rows, names: Sequence[str] = ()) -> Scored:
    """Rows of one variant as arrays, coded by `names` or by the labels in them."""
    names = names or sorted({r["label"] for r in rows} | {r["predicted"] for r in rows})
    codes = {name: code for code, name in enumerate(names)}
    return Scored(
        np.array([codes[r["label"]] for r in rows]),
        np.array([codes[r["predicted"]] for r in rows]),
        np.array([f"{r['corpus']}/{r['speaker']}" for r in rows]),
    )


def figures(rows: Rows) -> dict[str, Interval]:
    """UA and WA of one variant, all folds and seeds pooled, with their intervals.

    Speakers are drawn together with all their seeds.
    """
    return intervals(scored(rows))


def seed_figures(rows: Rows) -> dict[str, list[float]]:
    """UA and WA of one variant, seed by seed, over all folds' pooled predictions."""
    values: dict[str, list[float]] = {"UA": [], "WA": []}
    for seed in sorted({row["seed"] for row in rows}):
        one = intervals(scored([r for r in rows if r["seed"] == seed]), repeats=2)
        for name, interval in one.items():
            values[name].append(interval.value)
    return values


def caveats(rows: Rows) -> list[str]:
    """What is to be known beside the figures, a sentence each."""
    speakers = {(row["corpus"], row["speaker"]) for row in rows}
    if any(name.startswith(UNKNOWN) for _, name in speakers):
        return [
            "WARNING: speakers are not known here. They may have trained what is "
            "measured: the figures are too good, and their intervals too narrow."
        ]
    if len(speakers) == 1:
        return [
            "A single speaker: the intervals say nothing, and others may get far less."
        ]
    return []


def figures_table(rows: Rows, protocol: str) -> list[dict[str, Any]]:
    """The headline figures of every variant, as JSON values; see `rounded`."""
    table = []
    groups = by_variant(rows)
    for variant, of_variant in groups.items():
        both = figures(of_variant)
        seeds = seed_figures(of_variant)
        row: dict[str, Any] = {"protocol": protocol, "variant": variant}
        for name, interval in both.items():
            key = name.lower()
            row[key] = float(np.mean(seeds[name]))
            row[f"{key}_std"] = float(np.std(seeds[name]))
            row[f"{key}_95"] = [interval.low, interval.high]
        row["seeds"] = len(seeds["UA"])
        row["clips"] = len({(r["corpus"], r["clip"]) for r in of_variant})
        if variant != REFERENCE and REFERENCE in groups:
            lost = paired_difference(scored(groups[REFERENCE]), scored(of_variant))
            row["ua_minus_keras"] = lost.value
            row["ua_minus_keras_95"] = [lost.low, lost.high]
        table.append(row)
    return table


def rounded(table: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A table of figures as files keep it; what is shown comes from the exact one.

    >>> rounded([{"variant": "int8", "ua": 0.65749, "ua_95": [0.6, 0.71234]}])
    [{'variant': 'int8', 'ua': 0.6575, 'ua_95': [0.6, 0.7123]}]
    """

    def short(value: Any) -> Any:
        if isinstance(value, list):
            return [short(each) for each in value]
        return round(value, 4) if isinstance(value, float) else value

    return [{key: short(value) for key, value in row.items()} for row in table]


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(head) + " |", "| --- " * len(head) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def percent(row: dict[str, Any], key: str) -> str:
    """A figure of `figures_table` with its interval, and its spread over seeds."""
    low, high = (100 * v for v in row[f"{key}_95"])
    spread = f" ± {100 * row[f'{key}_std']:.1f}" if row["seeds"] > 1 else ""
    return f"{100 * row[key]:.1f}{spread} [{low:.1f}, {high:.1f}]"


def loss(row: dict[str, Any]) -> str:
    """What a variant's UA lies above the float model's, if that is there."""
    if "ua_minus_keras" not in row:
        return ""
    low, high = (100 * v for v in row["ua_minus_keras_95"])
    return f"{100 * row['ua_minus_keras']:+.1f} [{low:+.1f}, {high:+.1f}]"


def markdown(name: str, table: Sequence[dict[str, Any]]) -> str:
    """The headline table of one configuration."""
    lines = [
        f"{name}, {table[0]['protocol']} folds, {table[0]['clips']} clips, "
        f"{table[0]['seeds']} seed(s); percent with 95 % intervals over speakers",
        "",
        "| variant | UA | WA | UA against float, paired |",
        "| --- | --- | --- | --- |",
    ]
    lines += [
        f"| {row['variant']} | {percent(row, 'ua')} | {percent(row, 'wa')} "
        f"| {loss(row)} |"
        for row in table
    ]
    for warning in leak_warning(table):
        lines += ["", warning]
    return "\n".join(lines)


def leak_warning(table: Sequence[dict[str, Any]]) -> list[str]:
    """That a leaky figure among these is no result, and what the leak is worth."""
    wa = {row["variant"]: 100 * row["wa"] for row in table}
    if not wa.keys() >= {HONEST, LEAKY}:
        return []
    return [
        f"**WARNING: {LEAKY} gives no result.** The same speakers stand on both sides "
        "of every fold, and each fold's epoch was chosen on its own test clips. That "
        f"alone is worth {wa[LEAKY] - wa[HONEST]:+.1f} points of accuracy here.",
    ]


def confusion_counts(rows: Rows, labels: Sequence[str]) -> Integers:
    """Confusion matrix of one variant, rows the truth, columns the prediction."""
    codes = {label: code for code, label in enumerate(labels)}
    return confusion(
        np.array([codes[r["label"]] for r in rows]),
        np.array([codes[r["predicted"]] for r in rows]),
        labels,
    )


def confusion_markdown(rows: Rows, labels: Sequence[str]) -> str:
    """Row-normalised confusion matrix of one variant, percent."""
    lines = [
        "| acted \\ heard | " + " | ".join(labels) + " |",
        "| --- " * (len(labels) + 1) + "|",
    ]
    for label, row in zip(labels, confusion_counts(rows, labels), strict=True):
        if row.sum():
            cells = " | ".join(f"{100 * n / row.sum():.0f}" for n in row)
            lines.append(f"| {label} | {cells} |")
    return "\n".join(lines)
