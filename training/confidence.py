"""Probabilities that mean what they say, and what saying "uncertain" is worth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.optimize

from training.metrics import (
    Integers,
    expected_calibration_error,
    unweighted_average_recall,
)
from training.predict import clip_means, softmax

COVERAGE = 0.8
_LIMITS = (0.25, 4.0)

Float32 = npt.NDArray[np.float32]


def fit_temperature(logits: Float32, windows: Integers, truth: Integers) -> float:
    """What logits are divided by for the likeliest answers, rounded to 0.01.

    Guo et al. 2017, "On calibration of modern neural networks", arXiv:1706.04599,
    section 4.2, for clips: a clip's probabilities are the mean of its windows'.

    Args:
        logits: shape (windows of all clips, classes).
        windows: number of windows of each clip, shape (clips,).
        truth: class of each clip, shape (clips,).
    """

    def loss(temperature: float) -> float:
        shares = clip_means(softmax(logits / np.float32(temperature)), windows)
        true = shares[np.arange(len(truth)), truth]
        return float(-np.log(np.maximum(true, 1e-7)).mean())

    found = scipy.optimize.minimize_scalar(loss, bounds=_LIMITS, method="bounded")
    return round(float(found.x), 2)


def figures(probabilities: npt.NDArray[Any], truth: Integers) -> dict[str, float]:
    """ECE, and UA of all clips and of the surest.

    Args:
        probabilities: shape (clips, classes).
        truth: class of each clip, shape (clips,).
    """
    predicted, sure = probabilities.argmax(1), probabilities.max(1)
    kept = sure >= np.quantile(sure, 1 - COVERAGE)
    return {
        "ece": expected_calibration_error(sure, predicted == truth),
        "ua": unweighted_average_recall(truth, predicted),
        "ua_of_surest": unweighted_average_recall(truth[kept], predicted[kept]),
    }


def table(
    groups: dict[str, list[dict[str, str]]], labels: Sequence[str]
) -> list[dict[str, Any]]:
    """`figures` of the saved predictions of each variant, as JSON values."""
    found = []
    for variant, rows in groups.items():
        shares = np.array(
            [[float(row[f"p_{label}"]) for label in labels] for row in rows]
        )
        truth = np.array([labels.index(row["label"]) for row in rows])
        values = figures(shares, truth)
        found.append({"variant": variant, **values})
    return found


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """The table for people."""
    lines = [
        f"| variant | ECE | UA | UA of the surest {100 * COVERAGE:.0f} % | gain |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        gain = row["ua_of_surest"] - row["ua"]
        lines.append(
            f"| {row['variant']} | {row['ece']:.3f} | {100 * row['ua']:.1f} "
            f"| {100 * row['ua_of_surest']:.1f} | {100 * gain:+.1f} |"
        )
    return "\n".join(lines)
