"""Emotion over the time of a recording, as a chart, JSON lines or CSV."""

from __future__ import annotations

import csv
import io
import itertools
import json
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from edge_ser.adaptation import Adaptation
from edge_ser.classifier import Classifier, Prediction, Stream

Float32 = npt.NDArray[np.float32]


def rows(
    classifier: Classifier,
    blocks: Iterator[Float32],
    step_s: float | None,
    adaptation: Adaptation | None = None,
) -> Iterator[Prediction]:
    """Predictions in order, as soon as they are known; memory does not grow.

    Args:
        blocks: audio at the model's rate.
        step_s: the mean over the windows that begin within so many seconds makes a row;
            None gives a row to each window.
        adaptation: of the place that is heard.

    Raises:
        AudioError: see `Stream.push` and `Stream.finish`.
    """
    count = 1
    if step_s is not None:
        count = max(1, round(step_s / classifier.card.hop_s))
    windows = _windows(classifier.stream(adaptation=adaptation), blocks)
    for first in windows:
        yield _mean(classifier, first, itertools.islice(windows, count - 1))


def _windows(stream: Stream, blocks: Iterator[Float32]) -> Iterator[Prediction]:
    for block in blocks:
        yield from stream.push(block)
    yield from stream.finish()


def _mean(
    classifier: Classifier, first: Prediction, others: Iterator[Prediction]
) -> Prediction:
    last, windows = first, 1
    total = np.array(list(first.probabilities.values()))
    for last in others:
        total += list(last.probabilities.values())
        windows += 1
    if windows == 1:
        return first
    duration_s = last.start_s + last.duration_s - first.start_s
    mean = (total / windows).astype(np.float32)
    return classifier.prediction(mean, first.start_s, duration_s)


def clock(seconds: float) -> str:
    """``1:02:03.5``: hours only where there are any.

    >>> clock(63.25), clock(3723.5)
    ('1:03.2', '1:02:03.5')
    """
    tenths = int(seconds * 10)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    start = f"{hours}:{minutes:02}" if hours else f"{minutes}"
    return f"{start}:{rest / 10:04.1f}"


def chart_line(row: Prediction, label_width: int, bar: str) -> str:
    """A row of the chart: time, label, confidence, bar."""
    return (
        f"{clock(row.start_s):>10}  {row.label:{label_width}}  "
        f"{row.confidence:4.0%}  {bar}"
    )


def json_line(path: str, row: Prediction) -> str:
    """A row as a JSON object, without the line break."""
    return json.dumps(
        {
            "path": path,
            "start_s": round(row.start_s, 3),
            "end_s": round(row.start_s + row.duration_s, 3),
            "label": row.label,
            "confidence": round(row.confidence, 4),
            "probabilities": {
                label: round(value, 4) for label, value in row.probabilities.items()
            },
        }
    )


def csv_header(classifier: Classifier) -> str:
    """The first line of a CSV timeline."""
    fields = ["path", "start_s", "end_s", "label", "confidence", *classifier.labels]
    return _csv(fields)


def csv_line(path: str, row: Prediction) -> str:
    """A row as CSV (RFC 4180), without the line break."""
    end_s = row.start_s + row.duration_s
    fields = [path, f"{row.start_s:.3f}", f"{end_s:.3f}", row.label]
    fields.append(f"{row.confidence:.4f}")
    fields += [f"{value:.4f}" for value in row.probabilities.values()]
    return _csv(fields)


def _csv(fields: list[str]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(fields)
    return line.getvalue()
