"""Pictures of trainings and evaluations."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

from training.metrics import Integers


def learning_curve(history: Sequence[dict[str, float]], path: pathlib.Path) -> None:
    """Loss and accuracy by epoch, validation (other speakers) where it was taken."""
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
                    label=label,
                )
        axis.set(xlabel="epoch", ylabel=quantity)
        axis.grid(alpha=0.3)
        axis.legend(frameon=False)
    _save(figure, path)


def confusion_matrix(
    counts: Integers, labels: Sequence[str], title: str, path: pathlib.Path
) -> None:
    """Percent of each true class, rows the truth, columns the prediction."""
    shares = 100 * counts / counts.sum(1, keepdims=True)
    size = 1.6 + 0.62 * len(labels)
    figure, axis = pyplot.subplots(figsize=(size + 0.6, size), layout="constrained")
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=100)
    for row, column in ((r, c) for r in range(len(labels)) for c in range(len(labels))):
        share = shares[row, column]
        axis.text(
            column,
            row,
            f"{share:.0f}",
            ha="center",
            va="center",
            color="white" if share > 55 else "black",
        )
    axis.set_xticks(range(len(labels)), labels, rotation=35, ha="right")
    axis.set_yticks(range(len(labels)), labels)
    axis.set(xlabel="heard as", ylabel="acted as", title=title)
    _save(figure, path)


def _save(figure: Any, path: pathlib.Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Without the version of matplotlib in it, the same figures give the same bytes.
    figure.savefig(path, dpi=110, metadata={"Software": None})
    pyplot.close(figure)
