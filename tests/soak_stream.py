"""Hours of synthetic audio through a stream, as fast as it goes: is memory flat?

python tests/soak_stream.py [--hours 10] [--model BUNDLE]; exit code 1 if the resident
memory grows by more than 1 MiB once the stream runs.
"""

from __future__ import annotations

import argparse
import pathlib
import sys

import numpy as np

sys.path[:0] = [str(pathlib.Path(__file__).parents[1])]

from edge_ser.classifier import Classifier  # noqa: E402

_BLOCK_SAMPLES = 1600
_SETTLING_S = 600


def rss_kib() -> int:
    fields = pathlib.Path("/proc/self/statm").read_text().split()
    return int(fields[1]) * 4


def soak(classifier: Classifier, hours: float) -> tuple[int, int]:
    """Predictions made, and growth of the resident memory in KiB."""
    random = np.random.default_rng(0)
    noise = (random.standard_normal(40 * _BLOCK_SAMPLES) * 0.1).astype(np.float32)
    stream = classifier.stream()
    rate_hz = classifier.sample_rate_hz
    total = round(hours * 3600 * rate_hz / _BLOCK_SAMPLES)
    settled = min(total // 2, _SETTLING_S * rate_hz // _BLOCK_SAMPLES)
    predictions = start_kib = 0
    for index in range(total):
        if index == settled:
            start_kib = rss_kib()
        first = (index * 7919) % (len(noise) - _BLOCK_SAMPLES)
        predictions += len(stream.push(noise[first : first + _BLOCK_SAMPLES]))
    return predictions, rss_kib() - start_kib


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=10.0)
    parser.add_argument("--model")
    arguments = parser.parse_args()
    predictions, growth_kib = soak(Classifier.load(arguments.model), arguments.hours)
    print(f"{arguments.hours:g} h, {predictions} predictions, grew {growth_kib} KiB")
    return 1 if growth_kib > 1024 else 0


if __name__ == "__main__":
    sys.exit(main())
