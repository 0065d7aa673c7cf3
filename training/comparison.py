"""A page that compares results: figures, confusion, calibration, groups, curves."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from training import ablation_results, plots, report, runs
from training.corpora import ADAPTERS
from training.errors import RunError
from training.metrics import (
    by_class,
    expected_calibration_error,
    paired_difference,
    reliability,
)
from training.page import Page
from training.report import markdown_table


def write(folders: Sequence[pathlib.Path], out: pathlib.Path) -> None:
    """Render results or runs into one self-contained HTML page.

    Args:
        folders: with ``predictions.csv``, ``history*.csv`` or both, as `evaluate` and
            `train` leave them. The first is what the others are compared with.

    Raises:
        RunError: a folder with neither; or see `report.read_predictions`.
    """
    names = names_of(folders)
    page = Page(", ".join(names.values()))
    scored = [folder for folder in folders if (folder / "predictions.csv").exists()]
    if scored:
        page.text("## Side by side\n\n" + comparison_markdown(scored))
    for folder in folders:
        # `own` keeps its training in a folder of its own.
        files = [*folder.glob("history*.csv"), *folder.glob("run/history.csv")]
        curves = [(file.stem, runs.read_history(file)) for file in sorted(files)]
        ablated = (folder / ablation_results.FILE).exists()
        if folder not in scored and not curves and not ablated:
            raise RunError(f"{folder}: neither predictions.csv nor history.csv")
        page.text(f"## {names[folder]}")
        if ablated:
            page.text(ablation_results.markdown(ablation_results.read(folder)))
        if folder in scored:
            _predictions(page, folder)
        for name, rows in curves:
            page.figure(plots.learning_figure(rows), _caption(name, rows))
    out.parent.mkdir(parents=True, exist_ok=True)
    page.write(out)


def names_of(folders: Sequence[pathlib.Path]) -> dict[pathlib.Path, str]:
    """What to call each folder: its name, or the path where names are the same."""
    names = {folder: folder.resolve().name for folder in folders}
    if len(set(names.values())) == len(names):
        return names
    return {folder: folder.as_posix() for folder in folders}


def _percent(value: float) -> str:
    # From four digits, as the published figures are.
    return f"{100 * round(value, 4):.1f}"


def _interval(value: float, low: float, high: float) -> str:
    return f"{_percent(value)} [{_percent(low)}, {_percent(high)}]"


def comparison_markdown(folders: Sequence[pathlib.Path]) -> str:
    """UA and WA of every result and variant, and the difference from the first.

    The difference is of the shown variant, paired, where both speak of the same clips.
    """
    rows, first, names = [], None, names_of(folders)
    notes = []
    for folder in folders:
        _, predictions = report.read_predictions(folder / "predictions.csv")
        notes += [f"{names[folder]}: {n}" for n in report.caveats(predictions)]
        protocol = report.protocol_of(folder)
        groups = report.by_variant(predictions)
        figures = report.figures_table(predictions, protocol)
        notes += report.leak_warning(figures)
        for row in figures:
            against = ""
            if row["variant"] == report.shown_variant(groups):
                of_variant = groups[row["variant"]]
                against = _against(first, of_variant) if first else ""
                first = first or of_variant
            rows.append(
                [
                    names[folder],
                    protocol,
                    row["variant"],
                    str(row["clips"]),
                    str(row["seeds"]),
                    _interval(row["ua"], *row["ua_95"]),
                    _interval(row["wa"], *row["wa_95"]),
                    against,
                ]
            )
    head = ["result", "protocol", "variant", "clips", "seeds", "UA", "WA"]
    told = (
        "Percent with 95 % intervals from a bootstrap over speakers. Against the "
        "first: the difference in UA over the same clips, paired."
    )
    table = markdown_table([*head, "against the first"], rows)
    return "\n\n".join([told, table, *notes])


def _against(first: report.Rows, other: report.Rows) -> str:
    def key(row: Mapping[str, str]) -> tuple[str, ...]:
        return row["seed"], row["corpus"], row["clip"], row["label"]

    if [key(row) for row in first] != [key(row) for row in other]:
        return "other clips"
    # One table of codes for both.
    names = sorted({r[k] for r in (*first, *other) for k in ("label", "predicted")})
    both = [report.scored(rows, names) for rows in (first, other)]
    difference = paired_difference(*both)
    low, high = 100 * difference.low, 100 * difference.high
    return f"{100 * difference.value:+.1f} [{low:+.1f}, {high:+.1f}]"


def _predictions(page: Page, folder: pathlib.Path) -> None:
    labels, rows = report.read_predictions(folder / "predictions.csv")
    by_variant = report.by_variant(rows)
    variant = report.shown_variant(by_variant)
    of_variant = by_variant[variant]
    counts = report.confusion_counts(of_variant, labels)
    page.figure(
        plots.confusion_figure(counts, labels, "percent of each emotion"),
        f"{variant}: confusion, percent",
    )
    page.figure(
        plots.confusion_figure(counts, labels, "clips", as_counts=True),
        f"{variant}: confusion, clips",
    )
    confidence = np.array([float(r[f"p_{r['predicted']}"]) for r in of_variant])
    correct = np.array([r["label"] == r["predicted"] for r in of_variant])
    page.figure(
        plots.reliability_figure(
            reliability(confidence, correct),
            expected_calibration_error(confidence, correct),
        ),
        f"{variant}: how often it is right when it is so sure",
    )
    lines = [
        [label, *map(_percent, figures[:3]), str(figures[3])]
        for label, figures in zip(labels, by_class(counts), strict=True)
    ]
    page.text(
        "### By emotion\n\n"
        + markdown_table(["emotion", "precision", "recall", "F1", "clips"], lines)
    )
    told = report.read_clips(folder)
    for name in GROUPINGS:
        head, lines = [name, "UA", "WA", "clips"], groups(of_variant, name, told)
        if [line[0] for line in lines] != ["unknown"]:
            page.text(f"### By {name}\n\n" + markdown_table(head, lines))


GROUPINGS = ("gender", "language", "corpus")


def groups(rows: report.Rows, by: str, told: report.Told) -> list[list[str]]:
    """UA and WA with intervals, and clips, of each group of speakers.

    Args:
        by: of `GROUPINGS`.
        told: of clips whose names tell nothing.
    """
    found: dict[str, report.Rows] = {}
    for row in rows:
        group = row["corpus"]
        if by != "corpus":
            known = told.get((row["corpus"], row["clip"])) or _by_name(row)
            group = known.get(by, "")
        found.setdefault(group or "unknown", []).append(row)
    lines = []
    for group, of_group in sorted(found.items()):
        both = report.figures(of_group).values()
        cells = [_interval(one.value, one.low, one.high) for one in both]
        clips = {(row["corpus"], row["clip"]) for row in of_group}
        lines.append([group, *cells, str(len(clips))])
    return lines


def groups_markdown(rows: report.Rows, told: report.Told) -> str:
    """A table of each of `GROUPINGS` in which the rows differ; of one variant.

    >>> rows = [
    ...     dict(corpus="emovo", clip=f"neu-{who}-b1", speaker=who, seed="0", fold="1",
    ...          label="neutral", predicted="neutral") for who in ("f1", "m1")
    ... ]
    >>> print(groups_markdown(rows, {}))
    | gender | UA | WA | clips |
    | --- | --- | --- | --- |
    | female | 100.0 [100.0, 100.0] | 100.0 [100.0, 100.0] | 1 |
    | male | 100.0 [100.0, 100.0] | 100.0 [100.0, 100.0] | 1 |
    <BLANKLINE>
    """
    tables = []
    for by in GROUPINGS:
        lines = groups(rows, by, told)
        if len(lines) > 1:
            tables.append(report.markdown_table([by, "UA", "WA", "clips"], lines))
    return "".join(f"{table}\n\n" for table in tables).removesuffix("\n")


def _by_name(row: Mapping[str, str]) -> Mapping[str, str]:
    """What the corpus's file names tell of a predicted clip."""
    adapter = ADAPTERS.get(row["corpus"])
    match = adapter.PATTERN.fullmatch(row["clip"]) if adapter else None
    if adapter is None or match is None:
        return {}
    return vars(adapter.clip(pathlib.Path(row["clip"]), match))


def _caption(name: str, rows: Sequence[dict[str, float]]) -> str:
    lost = plots.decline(rows, "validation_loss")
    fallen = plots.decline(rows, "validation_accuracy")
    words = f"learning curve ({name})"
    if lost:
        words += f"; overfitting: validation loss rises from epoch {lost[0]:.0f} on"
    if fallen:
        words += f"; validation accuracy declines from epoch {fallen[0]:.0f} on"
    return words
