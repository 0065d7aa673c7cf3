"""Pictures of trainings and evaluations."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("Agg")
from matplotlib import pyplot, ticker

from training.metrics import Integers

_NEAR = 0.7
"""Points of UA that two names need between them."""
_MARKERS = "os^Dv*PX"


def learning_curve(history: Sequence[dict[str, float]], path: pathlib.Path) -> None:
    """Loss and accuracy by epoch, validation (other speakers) where it was taken.

    From where validation was best on, training that still gets better is marked as
    overfitting; the epoch whose weights are kept has a line.
    """
    save(learning_figure(history), path)


def learning_figure(history: Sequence[dict[str, float]]) -> Any:
    """The figure of `learning_curve`."""
    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    for axis, quantity in zip(axes, ("loss", "accuracy"), strict=True):
        for column, label in (
            (quantity, "training (augmented)"),
            (f"validation_{quantity}", "validation speakers"),
        ):
            rows = [row for row in history if column in row]
            if rows:
                axis.plot(
                    [row["epoch"] for row in rows],
                    [row[column] for row in rows],
                    marker="." if len(rows) < 30 else None,
                    label=label,
                )
        _mark(axis, history, f"validation_{quantity}")
        axis.set(xlabel="epoch", ylabel=quantity)
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.3)
        axis.legend(frameon=False)
    return figure


def decline(
    history: Sequence[dict[str, float]], column: str
) -> tuple[float, float] | None:
    """From the best epoch to the last, if validation fell after its best by over 2 %.

    Of the loss, rising is falling. None where it did not fall.
    """
    rows = [row for row in history if column in row]
    if len(rows) < 3:
        return None
    sign = -1 if column.endswith("loss") else 1
    best = max(rows, key=lambda row: sign * row[column])
    lost = sign * (best[column] - rows[-1][column])
    if lost <= 0.02 * abs(best[column]):
        return None
    return best["epoch"], rows[-1]["epoch"]


def _mark(axis: Any, history: Sequence[dict[str, float]], column: str) -> None:
    fallen = decline(history, column)
    if fallen:
        axis.axvspan(*fallen, color="tab:red", alpha=0.1, label="overfitting")
    for row in history:
        if row.get("kept") and row["epoch"] != history[-1]["epoch"]:
            axis.axvline(row["epoch"], color="black", linestyle=":", label="kept")


def trial_curves(
    curves: dict[str, Sequence[dict[str, float]]], path: pathlib.Path
) -> None:
    """Training loss and the validation speakers' UA by epoch, a line a recipe.

    Args:
        curves: see `training.runs.read_history`, by the recipe's name.
    """
    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    for axis, quantity in zip(axes, ("loss", "validation_ua"), strict=True):
        for label, history in curves.items():
            rows = [row for row in history if quantity in row]
            epochs = [row["epoch"] for row in rows]
            axis.plot(epochs, [row[quantity] for row in rows], label=label)
        told = {"loss": "training loss", "validation_ua": "validation UA"}[quantity]
        axis.set(xlabel="epoch", ylabel=told)
        axis.grid(alpha=0.3)
        axis.legend(frameon=False)
    save(figure, path)


def zoo(rows: Sequence[dict[str, Any]], title: str, path: pathlib.Path) -> None:
    """UA against MACs and against size, a point a row; int8 where there is one.

    Args:
        rows: of one protocol, see `training.zoo_results.load`; rows without MACs (the
            baselines) are lines across.
    """
    figure, axes = pyplot.subplots(
        1, 2, figsize=(12, 5), layout="constrained", sharey=True
    )
    for axis, (quantity, unit, label) in zip(
        axes,
        (("macs", 1e6, "million MACs a window"), ("int8_bytes", 1e3, "int8 file, kB")),
        strict=True,
    ):
        across: list[tuple[float, str]] = []
        for number, row in enumerate(rows):
            ua = 100 * (row["int8"] or row["float"])["ua"]
            if row.get(quantity) is None:
                across.append((ua, row["name"]))
                continue
            style = f"C{number % 10}{_MARKERS[number % len(_MARKERS)]}"
            axis.plot(row[quantity] / unit, ua, style, markersize=8, label=row["name"])
        _lines_across(axis, across)
        axis.margins(x=0.25)
        axis.set(xscale="log", xlabel=label, title=title)
        axis.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_major_formatter("{x:g}")
        axis.xaxis.set_minor_formatter("")
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("UA, percent")
    figure.legend(
        *axes[0].get_legend_handles_labels(), loc="outside right upper", frameon=False
    )
    save(figure, path)


def _lines_across(axis: Any, named: Sequence[tuple[float, str]]) -> None:
    """Dotted lines at heights; those too near each other share a line of text."""
    shared: list[tuple[float, list[str]]] = []
    for height, name in sorted(named, reverse=True):
        axis.axhline(height, color="gray", linewidth=0.8, linestyle=":")
        if shared and shared[-1][0] - height < _NEAR:
            shared[-1][1].append(name)
        else:
            shared.append((height, [name]))
    for height, names in shared:
        axis.annotate(
            ", ".join(names),
            (0.99, height),
            xycoords=("axes fraction", "data"),
            fontsize=7,
            ha="right",
            color="gray",
        )


def confusion_matrix(
    counts: Integers, labels: Sequence[str], title: str, path: pathlib.Path
) -> None:
    """Percent of each true class, rows the truth, columns the prediction."""
    save(confusion_figure(counts, labels, title), path)


def confusion_figure(
    counts: Integers, labels: Sequence[str], title: str, *, as_counts: bool = False
) -> Any:
    """The figure of `confusion_matrix`, or with the counts themselves."""
    shares = 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)
    size = 1.6 + 0.62 * len(labels)
    figure, axis = pyplot.subplots(figsize=(size + 0.6, size), layout="constrained")
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=100)
    for row, column in ((r, c) for r in range(len(labels)) for c in range(len(labels))):
        share = shares[row, column]
        axis.text(
            column,
            row,
            f"{counts[row, column]}" if as_counts else f"{share:.0f}",
            ha="center",
            va="center",
            color="white" if share > 55 else "black",
        )
    axis.set_xticks(range(len(labels)), labels, rotation=35, ha="right")
    axis.set_yticks(range(len(labels)), labels)
    axis.set(xlabel="heard as", ylabel="acted as", title=title)
    return figure


def reliability_figure(bins: Sequence[tuple[float, float, int]], error: float) -> Any:
    """How often the network is right when it is so sure; see `metrics.reliability`."""
    figure, axis = pyplot.subplots(figsize=(4.6, 4), layout="constrained")
    axis.plot([0, 1], [0, 1], color="grey", linestyle=":", label="perfect")
    sure, right, counts = zip(*bins, strict=True)
    shares = np.array(counts) / sum(counts)
    axis.bar(sure, shares, width=0.03, color="lightgrey", label="share of clips")
    axis.plot(sure, right, marker="o", label="measured")
    axis.set(
        xlabel="confidence",
        ylabel="share right",
        title=f"expected calibration error {100 * error:.1f} %",
        xlim=(0, 1),
        ylim=(0, 1),
    )
    axis.grid(alpha=0.3)
    axis.legend(frameon=False)
    return figure


def save(figure: Any, path: pathlib.Path) -> None:
    """Write a figure as PNG and let go of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Without the version of matplotlib in it, the same figures give the same bytes.
    figure.savefig(path, dpi=110, metadata={"Software": None})
    pyplot.close(figure)
