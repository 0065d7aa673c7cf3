"""The emotion of sound files.

Examples:
  edge-ser classify clip.wav
  edge-ser classify --json *.wav > answers.jsonl
  edge-ser classify --model my.tflite clip.flac

A file that cannot be read is reported, the others are answered, and the exit code is 4.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys

from edge_ser.audio.file import read_blocks
from edge_ser.classifier import Classifier, Prediction
from edge_ser.errors import AudioError

_BAR_WIDTH = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own arguments."""
    parser.add_argument("paths", nargs="+", metavar="PATH", help="sound file")
    parser.add_argument(
        "--model", metavar="BUNDLE", help="a .tflite bundle (default: the built-in one)"
    )
    parser.add_argument(
        "--json", action="store_true", help="one JSON object a file, in the order given"
    )


def run(arguments: argparse.Namespace) -> int:
    """Classify each file in turn."""
    from edge_ser.cli import report

    classifier = Classifier.load(arguments.model)
    path_width = max(map(len, arguments.paths))
    if sys.stdout.isatty():
        path_width = min(path_width, max(20, shutil.get_terminal_size().columns - 50))
    label_width = max(map(len, classifier.labels))
    code = 0
    for path in arguments.paths:
        try:
            blocks = read_blocks(path, classifier.sample_rate_hz)
            prediction = classifier.classify_blocks(blocks)
        except AudioError as error:
            sys.stdout.flush()  # keep the order where both go to one terminal
            message = str(error)
            report(message if path in message else f"{path}: {message}")
            code = error.exit_code
            if arguments.debug:
                raise
            continue
        if arguments.json:
            print(json.dumps(_answer(path, prediction), ensure_ascii=False), flush=True)
        else:
            print(_line(path, prediction, path_width, label_width), flush=True)
    return code


def _answer(path: str, prediction: Prediction) -> dict[str, object]:
    return {
        "path": path,
        "label": prediction.label,
        "confidence": round(prediction.confidence, 4),
        "probabilities": {
            label: round(value, 4) for label, value in prediction.probabilities.items()
        },
        "duration_s": round(prediction.duration_s, 3),
    }


def _line(path: str, prediction: Prediction, path_width: int, label_width: int) -> str:
    if len(path) > path_width:
        path = "..." + path[3 - path_width :]
    return (
        f"{path:{path_width}}  {prediction.label:{label_width}}  "
        f"{prediction.confidence:4.0%}  {_bar(prediction.confidence)}  "
        f"{prediction.duration_s:6.1f} s"
    )


def _bar(share: float) -> str:
    full, empty = "█", "░"
    encoding = sys.stdout.encoding or "ascii"
    try:
        (full + empty).encode(encoding)
    except UnicodeEncodeError:
        full, empty = "#", "."
    count = round(share * _BAR_WIDTH)
    return full * count + empty * (_BAR_WIDTH - count)
