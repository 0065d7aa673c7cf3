"""The emotion of sound files.

Examples:
  edge-ser classify clip.wav
  edge-ser classify --json *.wav > answers.jsonl
  edge-ser classify --model my.tflite clip.flac
  edge-ser classify --timeline talk.wav
  edge-ser classify --same-place calls/*.wav
  edge-ser classify --timeline --step 10 --csv *.wav > talks.csv

A file that cannot be read is reported, the others are answered, and the exit code is 4.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import json
import shutil
import sys
import traceback
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from edge_ser.adaptation import LONGEST_MEMORY_S, Adaptation, AdaptationSettings
from edge_ser.audio.file import read_blocks
from edge_ser.classifier import Classifier, Prediction
from edge_ser.cli import engine, timeline
from edge_ser.errors import AudioError, ConfigError

Float32 = npt.NDArray[np.float32]

_BAR_WIDTH = 20
_LONGEST_STEP_S = 86400.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own arguments."""
    parser.add_argument("paths", nargs="+", metavar="PATH", help="sound file")
    parser.add_argument(
        "--channel",
        type=int,
        metavar="N",
        help="take this channel, 0 is the first (default: the average of all)",
    )
    parser.add_argument(
        "--timeline", action="store_true", help="emotion over time, a row a window"
    )
    parser.add_argument(
        "--step", type=float, metavar="S", help="seconds in a row of the timeline"
    )
    parser.add_argument(
        "--same-place",
        action="store_true",
        help="all files are of one room and microphone, or telephone: hear them once "
        "to get used to it, then again to answer",
    )
    output = parser.add_mutually_exclusive_group()
    output.add_argument(
        "--json",
        action="store_true",
        help="one JSON object a file, in the order given (a row with --timeline)",
    )
    output.add_argument(
        "--csv", action="store_true", help="the timeline as CSV with a header"
    )
    engine.add_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Classify each file in turn."""
    from edge_ser.cli import report

    if arguments.step is not None and not 0 < arguments.step <= _LONGEST_STEP_S:
        raise ConfigError(
            f"--step is {arguments.step:g}; valid: seconds above 0, up to "
            f"{_LONGEST_STEP_S:g}"
        )
    if arguments.channel is not None and arguments.channel < 0:
        raise ConfigError(f"--channel is {arguments.channel}; valid: 0 and more")
    if not arguments.timeline and (arguments.csv or arguments.step is not None):
        raise ConfigError("--csv and --step belong to --timeline: give it too")
    classifier = engine.load(arguments)
    place = _place(classifier, arguments) if arguments.same_place else None
    if arguments.csv:
        print(timeline.csv_header(classifier))
    path_width = max(map(len, arguments.paths))
    if sys.stdout.isatty():
        path_width = min(path_width, max(20, shutil.get_terminal_size().columns - 50))
    label_width = max(map(len, classifier.labels))
    code = 0
    for path in arguments.paths:
        try:
            blocks = read_blocks(path, classifier.sample_rate_hz, arguments.channel)
            if arguments.timeline:
                _timeline(path, blocks, classifier, place, arguments)
                continue
            prediction = classifier.classify_blocks(blocks, adaptation=place)
        except AudioError as error:
            sys.stdout.flush()  # keep the order where both go to one terminal
            if arguments.debug:
                traceback.print_exc()
            message = str(error)
            report(message if message.startswith(f"{path}: ") else f"{path}: {message}")
            code = error.exit_code
            continue
        if arguments.json:
            print(json.dumps(_answer(path, prediction)), flush=True)
        else:
            print(_line(path, prediction, path_width, label_width), flush=True)
    return code


def _place(classifier: Classifier, arguments: argparse.Namespace) -> Adaptation:
    """What the place of all files does to voices; it learns nothing more."""
    # What was heard first is not forgotten, however long the files are.
    place = classifier.adaptation(AdaptationSettings(memory_s=LONGEST_MEMORY_S))
    if place is None:
        raise ConfigError(
            "--same-place: this model's card tells nothing of its speakers, so it "
            "cannot get used to a place; leave the option out"
        )
    for path in arguments.paths:
        # A bad file teaches nothing, and is told when it should be answered.
        learned = copy.deepcopy(place)
        with contextlib.suppress(AudioError):
            blocks = read_blocks(path, classifier.sample_rate_hz, arguments.channel)
            classifier.classify_blocks(blocks, adaptation=learned)
            place = learned
    place.learns = False
    return place


def _timeline(
    path: str,
    blocks: Iterator[Float32],
    classifier: Classifier,
    place: Adaptation | None,
    arguments: argparse.Namespace,
) -> None:
    label_width = max(map(len, classifier.labels))
    if not (arguments.json or arguments.csv):
        print(path)
    for row in timeline.rows(classifier, blocks, arguments.step, place):
        if arguments.json:
            line = timeline.json_line(path, row)
        elif arguments.csv:
            line = timeline.csv_line(path, row)
        else:
            line = timeline.chart_line(row, label_width, _bar(row.confidence))
        print(line, flush=True)


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
