"""A firmware loop: PCM blocks of 10 ms from the audio driver, decisions on the way.

The driver's place is taken by raw 16 kHz mono int16 PCM on standard input:

    sox speech.wav -t raw -r 16000 -b 16 -e signed -c 1 - | python firmware_loop.py
"""

import sys

import numpy as np

from edge_ser import Classifier

BLOCK_SAMPLES = 160  # what the driver gives at once; any number does


def main() -> None:
    """Read blocks until the driver stops."""
    classifier = Classifier.load(sys.argv[1] if len(sys.argv) > 1 else None)
    stream = classifier.stream()
    while data := sys.stdin.buffer.read(2 * BLOCK_SAMPLES):
        block = np.frombuffer(data[: len(data) // 2 * 2], np.int16)
        for prediction in stream.push(block):
            end_s = prediction.start_s + prediction.duration_s
            line = f"{end_s:7.2f} s  {prediction.label}  {prediction.confidence:.2f}"
            print(line, flush=True)


if __name__ == "__main__":
    main()
