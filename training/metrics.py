"""UA and WA of saved predictions, with intervals from a bootstrap over speakers."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class Scored:
    """Pooled predictions of one variant, a row a clip."""

    truth: Integers
    predicted: Integers
    speaker: npt.NDArray[np.str_]


@dataclasses.dataclass(frozen=True)
class Interval:
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float


def unweighted_average_recall(truth: Integers, predicted: Integers) -> float:
    """UA: the mean over the classes in `truth` of the share found."""
    classes = np.unique(truth)
    return float(np.mean([(predicted[truth == c] == c).mean() for c in classes]))


def _confusions(scored: Scored) -> npt.NDArray[np.float64]:
    """Confusion counts by speaker, shape (speakers, classes, classes)."""
    names, speakers = np.unique(scored.speaker, return_inverse=True)
    size = int(max(scored.truth.max(), scored.predicted.max())) + 1
    counts = np.zeros((len(names), size, size))
    np.add.at(counts, (speakers, scored.truth, scored.predicted), 1)
    return counts


def _ua(counts: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """UA of confusion matrices, shape (..., classes, classes) to (...)."""
    clips = counts.sum(-1)
    hits = np.diagonal(counts, axis1=-2, axis2=-1)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.nanmean(hits / clips, axis=-1))


def _wa(counts: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    hits = np.trace(counts, axis1=-2, axis2=-1)
    return np.asarray(hits / counts.sum((-2, -1)))


def _resampled(speakers: int, repeats: int, seed: int) -> npt.NDArray[np.float64]:
    """How often each speaker is drawn, shape (repeats, speakers)."""
    random = np.random.default_rng(seed)
    return random.multinomial(
        speakers, np.full(speakers, 1 / speakers), size=repeats
    ).astype(np.float64)


def _interval(value: float, draws: npt.NDArray[np.float64]) -> Interval:
    low, high = np.percentile(draws, [2.5, 97.5])
    return Interval(value, float(low), float(high))


def intervals(
    scored: Scored, repeats: int = 10_000, seed: int = 0
) -> dict[str, Interval]:
    """UA and WA with 95 % percentile intervals, speakers drawn with replacement.

    Efron & Tibshirani 1993, "An introduction to the bootstrap", chapter 13.
    """
    counts = _confusions(scored)
    draws = np.tensordot(_resampled(len(counts), repeats, seed), counts, 1)
    total = counts.sum(0)
    return {
        "UA": _interval(float(_ua(total)), _ua(draws)),
        "WA": _interval(float(_wa(total)), _wa(draws)),
    }


def paired_difference(
    first: Scored, second: Scored, repeats: int = 10_000, seed: int = 0
) -> Interval:
    """UA of `second` minus UA of `first` over the same clips, with its interval.

    Raises:
        ValueError: the two do not speak of the same clips in the same order.
    """
    if not (
        np.array_equal(first.truth, second.truth)
        and np.array_equal(first.speaker, second.speaker)
    ):
        raise ValueError("a paired bootstrap needs the same clips in the same order")
    one, two = _confusions(first), _confusions(second)
    draws = _resampled(len(one), repeats, seed)
    difference = _ua(np.tensordot(draws, two, 1)) - _ua(np.tensordot(draws, one, 1))
    return _interval(float(_ua(two.sum(0)) - _ua(one.sum(0))), difference)


def unpaired_difference(
    first: Scored, second: Scored, repeats: int = 10_000, seed: int = 0
) -> Interval:
    """UA of `second` minus UA of `first`, of other speakers, with its interval."""
    one, two = _confusions(first), _confusions(second)
    # Two seeds: the groups are drawn independently.
    draws = _ua(np.tensordot(_resampled(len(two), repeats, seed + 1), two, 1))
    draws -= _ua(np.tensordot(_resampled(len(one), repeats, seed), one, 1))
    return _interval(float(_ua(two.sum(0)) - _ua(one.sum(0))), draws)


def confusion(truth: Integers, predicted: Integers, classes: Sequence[str]) -> Integers:
    """Counts, rows the truth, columns the prediction."""
    counts = np.zeros((len(classes), len(classes)), np.int64)
    np.add.at(counts, (truth, predicted), 1)
    return counts


def by_class(counts: Integers) -> list[tuple[float, float, float, int]]:
    """Precision, recall, F1 and number of clips of each class.

    Args:
        counts: a confusion matrix, rows the truth.
    """
    rows = []
    for index in range(len(counts)):
        hits = counts[index, index]
        named, clips = counts[:, index].sum(), counts[index].sum()
        precision = hits / named if named else 0.0
        recall = hits / clips if clips else 0.0
        total = precision + recall
        f1 = 2 * precision * recall / total if total else 0.0
        rows.append((float(precision), float(recall), float(f1), int(clips)))
    return rows


def reliability(
    confidence: npt.NDArray[np.float64], correct: npt.NDArray[np.bool_], bins: int = 15
) -> list[tuple[float, float, int]]:
    """Mean confidence, share correct and count of each bin that is not empty.

    Args:
        confidence: probability of the answer given, shape (clips,), 0 to 1.
        correct: whether it was right, shape (clips,).
    """
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    rows = []
    for number in np.unique(place):
        inside = place == number
        sure, share = confidence[inside].mean(), correct[inside].mean()
        rows.append((float(sure), float(share), int(inside.sum())))
    return rows


def expected_calibration_error(
    confidence: npt.NDArray[np.float64],
    correct: npt.NDArray[np.bool_],
    bins: int = 15,
) -> float:
    """ECE: the gap between confidence and accuracy, averaged over bins by size.

    Guo et al. 2017, "On calibration of modern neural networks", arXiv:1706.04599,
    equation 3, with 15 bins of equal width as there.

    Args:
        confidence: probability of the answer given, shape (clips,), 0 to 1.
        correct: whether it was right, shape (clips,).
    """
    rows = reliability(confidence, correct, bins)
    error = sum(count * abs(sure - share) for sure, share, count in rows)
    return float(error / len(confidence))
