"""How long a call takes, with how sure one can be of it."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from edge_ser.classifier import Classifier
from edge_ser.features import FeatureStream, model_input, static_features

_WARM_UP = 5
_LEAST, _MOST = 20, 20_000
# Enough is measured when the median's 95 % interval is this narrow.
_PRECISION = 0.01


@dataclasses.dataclass(frozen=True)
class Timing:
    """Wall time of one call, in milliseconds."""

    count: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    low_ms: float
    """Of the 95 % confidence interval of the median."""
    high_ms: float
    cpu_ms: float | None = None
    """Median of the processor time, all threads together: with one thread the same as
    p50 where nothing else runs, and still fair where something does."""


def summarise(times_s: list[float], cpu_s: Sequence[float] = ()) -> Timing:
    """Percentiles of durations in seconds, and the median of processor times, if any.

    The interval of the median is that of order statistics: ranks
    ``n/2 -+ 1.96 sqrt(n)/2`` (Conover 1999, "Practical nonparametric statistics", 3.2).
    """
    times_ms = np.sort(np.asarray(times_s)) * 1000
    count = len(times_ms)
    reach = 1.96 * math.sqrt(count) / 2
    low = max(0, math.floor(count / 2 - reach))
    high = min(count - 1, math.ceil(count / 2 + reach))
    p50, p95, p99 = np.percentile(times_ms, [50, 95, 99])
    cpu_ms = float(np.median(cpu_s)) * 1000 if len(cpu_s) else None
    return Timing(
        count=count,
        p50_ms=float(p50),
        p95_ms=float(p95),
        p99_ms=float(p99),
        low_ms=float(times_ms[low]),
        high_ms=float(times_ms[high]),
        cpu_ms=cpu_ms,
    )


def measure(work: Callable[[], Any], budget_s: float = 1.0) -> Timing:
    """Call it again and again until its median is sure, or the time is up.

    Args:
        work: called some times for warming up first.
        budget_s: seconds to spend; 20 calls are made whatever they take.
    """
    for _ in range(_WARM_UP):
        work()
    times_s: list[float] = []
    cpu_s: list[float] = []
    end_s = time.perf_counter() + budget_s
    while len(times_s) < _LEAST or time.perf_counter() < end_s:
        start_s, start_cpu_s = time.perf_counter(), time.process_time()
        work()
        cpu_s.append(time.process_time() - start_cpu_s)
        times_s.append(time.perf_counter() - start_s)
        # Looking costs a sort, so only when the number has doubled.
        if len(times_s) >= _LEAST and (len(times_s) & (len(times_s) - 1)) == 0:
            so_far = summarise(times_s)
            sure = so_far.high_ms - so_far.low_ms < 2 * _PRECISION * so_far.p50_ms
            if sure or len(times_s) >= _MOST:
                break
    return summarise(times_s, cpu_s)


def decision_work(classifier: Classifier) -> dict[str, Callable[[], Any]]:
    """Calls that do what a decision takes, on noise, in parts and whole.

    Returns:
        ``features``: of a whole window at once; ``streaming features``: of the hop that
        is new; ``inference``: the model on one window; ``decision``: a hop of audio
        through a stream that gets used to its room, as the listener's: the sum of the
        latter two, and what that takes.
    """
    card = classifier.card
    spec = card.features
    random = np.random.default_rng(0)
    clip = (random.standard_normal(spec.model_samples) * 0.05).astype(np.float32)
    hop = clip[: card.hop_frames * spec.hop_samples]
    frames = static_features(clip, spec)
    window = model_input(frames, spec)
    features = FeatureStream(spec)
    stream = classifier.stream(adaptation=classifier.adaptation())
    features.push(clip)
    while not stream.push(hop):
        pass
    return {
        "features": lambda: model_input(static_features(clip, spec), spec),
        # The normalisation of the whole window comes with every decision.
        "streaming features": lambda: (features.push(hop), model_input(frames, spec)),
        "inference": lambda: classifier.interpreter.logits(window),
        "decision": lambda: stream.push(hop),
    }


def measure_decision(
    classifier: Classifier, budget_s: float = 1.0
) -> dict[str, Timing]:
    """What a decision costs: the timing of every part of `decision_work`."""
    work = decision_work(classifier)
    return {name: measure(call, budget_s) for name, call in work.items()}
