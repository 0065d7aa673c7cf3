"""What the listener announces: in noise, and when a stranger speaks.

Two scenes at one and the same setting, the listener's default. Noise: hours assembled
from the recordings marked ``test``, at varied levels; every announcement is false.
Speech: test speakers of each fold in such noise, one utterance after the other, heard
by the bundle that was trained without them; how many are announced, rightly, after
what delay from the onset, and how often the label changes within one.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
import pathlib
import re
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from edge_ser.audio.file import read_blocks
from edge_ser.classifier import Classifier
from edge_ser.decision import IDLE, UNCERTAIN
from edge_ser.pipeline import Decided, Pipeline
from training import protocol as protocols
from training.corpora import Clip, find_clips

Float32 = npt.NDArray[np.float32]

RATE_HZ = 16000
NOISE_SCENE_S = (10.0, 40.0)
NOISE_LEVEL_DB = (-60.0, -20.0)
SPEECH_LEVEL_DB = (-38.0, -18.0)
SPEECH_SNR_DB = (10.0, 35.0)
# Silence between utterances: long enough for every one to begin from idle.
PAUSE_S = (4.5, 6.0)
_ACTIVE_SHARE = 0.06


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own arguments."""
    parser.add_argument(
        "bundles", nargs="+", type=pathlib.Path, metavar="fold-K.tflite"
    )
    parser.add_argument("--data", type=pathlib.Path, required=True, metavar="DIR")
    parser.add_argument("--protocol", default="ravdess", metavar="NAME")
    parser.add_argument("--hours", type=float, default=4.0, help="of noise")
    parser.add_argument("--clips", type=int, default=60, help="of each fold; 0: all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE")


@dataclasses.dataclass
class Heard:
    """One utterance and what was announced for it."""

    truth: str
    onset_s: float
    labels: list[str] = dataclasses.field(default_factory=list)
    first_s: float | None = None
    """Of the first announcement of an emotion."""


def load(path: pathlib.Path) -> Float32:
    """A whole file at 16 kHz."""
    return np.concatenate(list(read_blocks(path, RATE_HZ)))


def test_noises(data: pathlib.Path) -> dict[str, Float32]:
    """The recordings that no training has heard, by name."""
    with (data / "noise" / "split.csv").open() as file:
        paths = [row["path"] for row in csv.DictReader(file) if row["use"] == "test"]
    return {pathlib.Path(path).stem: load(data / path) for path in paths}


def at_level(samples: Float32, level_db: float) -> Float32:
    """The same sound at this RMS level, in dB of full scale, clipped."""
    rms = max(float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)))), 1e-9)
    louder = samples * np.float32(10 ** (level_db / 20) / rms)
    return np.clip(louder, -1, 1)


def excerpt(
    noises: dict[str, Float32], seconds: float, random: np.random.Generator
) -> tuple[str, Float32]:
    """A random stretch of a random recording, repeated if it is too short."""
    name = str(random.choice(list(noises)))
    count = round(seconds * RATE_HZ)
    noise = np.roll(noises[name], int(random.integers(len(noises[name]))))
    return name, np.tile(noise, -(-count // len(noise)))[:count]


def hear_noise(
    classifier: Classifier, noises: dict[str, Float32], hours: float, seed: int
) -> tuple[list[tuple[str, float, str]], float, int]:
    """False events as (recording, level in dB, label), the hours, and model runs."""
    random = np.random.default_rng(seed)
    pipeline = Pipeline(classifier)
    false_events = []
    while pipeline.position_s < hours * 3600:
        name, noise = excerpt(noises, random.uniform(*NOISE_SCENE_S), random)
        level_db = random.uniform(*NOISE_LEVEL_DB)
        for decided in pipeline.push(at_level(noise, level_db)):
            if decided.decision.label != IDLE:
                false_events.append((name, level_db, decided.decision.label))
    return false_events, pipeline.position_s / 3600, pipeline.windows


def utterances(
    clips: list[Clip], noises: dict[str, Float32], random: np.random.Generator
) -> Iterator[tuple[str, float, Float32]]:
    """For each clip its emotion, its onset in the scene in seconds, and the scene."""
    for clip in clips:
        speech = load(clip.path)
        power = np.convolve(np.square(speech), np.full(320, 1 / 320), "same")
        active = np.flatnonzero(power > _ACTIVE_SHARE**2 * power.max())
        speech = speech[max(0, active[0] - 800) : active[-1] + 1600]
        level_db = random.uniform(*SPEECH_LEVEL_DB)
        pause = round(random.uniform(*PAUSE_S) * RATE_HZ)
        _, noise = excerpt(noises, (pause + len(speech)) / RATE_HZ, random)
        scene = at_level(noise, level_db - random.uniform(*SPEECH_SNR_DB))
        begin = pause // 2
        scene[begin : begin + len(speech)] += at_level(speech, level_db)
        onset = begin + min(800, int(active[0]))
        yield clip.emotion, onset / RATE_HZ, np.clip(scene, -1, 1)


def hear_speech(
    classifier: Classifier,
    clips: list[Clip],
    noises: dict[str, Float32],
    seed: int,
) -> list[Heard]:
    """What is announced for each clip."""
    pipeline = Pipeline(classifier)
    heard = []
    for truth, onset_s, scene in utterances(clips, noises, np.random.default_rng(seed)):
        current = Heard(truth, pipeline.position_s + onset_s)
        for decided in pipeline.push(scene):
            _note(current, decided)
        heard.append(current)
    return heard


def _note(current: Heard, decided: Decided) -> None:
    label = decided.decision.label
    if label == IDLE:
        return
    current.labels.append(label)
    if label != UNCERTAIN and current.first_s is None:
        current.first_s = decided.position_s


def summary(heard: list[Heard]) -> dict[str, float]:
    """The figures of some utterances."""
    announced = [each for each in heard if each.first_s is not None]
    delays_s = [each.first_s - each.onset_s for each in announced if each.first_s]
    right = [each for each in heard if each.truth in each.labels]
    changes = [max(0, len(each.labels) - 1) for each in heard]
    return {
        "utterances": len(heard),
        "announced": len(announced) / len(heard),
        "announced_or_uncertain": sum(bool(each.labels) for each in heard) / len(heard),
        "right_of_announced": len(right) / max(1, len(announced)),
        "median_delay_s": float(np.median(delays_s)) if delays_s else float("nan"),
        "p90_delay_s": float(np.percentile(delays_s, 90)) if delays_s else float("nan"),
        "changes_per_utterance": float(np.mean(changes)),
    }


def run(arguments: argparse.Namespace) -> int:
    """Score and print."""
    noises = test_noises(arguments.data)
    folds = {_fold(path): Classifier.load(path) for path in arguments.bundles}
    first = next(iter(folds.values()))
    false_events, hours, windows = hear_noise(
        first, noises, arguments.hours, arguments.seed
    )
    results: dict[str, object] = {
        "noise": {
            "hours": hours,
            "false_events": len(false_events),
            "false_events_per_hour": len(false_events) / hours,
            "emotion_model_runs_per_hour": windows / hours,
            "events": false_events,
        }
    }
    print(
        f"noise: {hours:.1f} h, {len(false_events)} false events, "
        f"{len(false_events) / hours:.2f} an hour; the emotion model ran "
        f"{windows / hours:.0f} times an hour"
    )
    for name, level_db, label in false_events:
        print(f"  {label} at {level_db:.0f} dBFS of {name}")
    protocol = protocols.load(arguments.protocol)
    clips = find_clips(arguments.data / protocol.corpus, [protocol.corpus])
    heard: list[Heard] = []
    for fold, classifier in folds.items():
        chosen = [clip for clip in clips if protocol.is_test(clip, fold)]
        random = np.random.default_rng(arguments.seed)
        random.shuffle(chosen)  # type: ignore[arg-type]
        chosen = chosen[: arguments.clips or None]
        heard += hear_speech(classifier, chosen, noises, arguments.seed + fold)
    results["speech"] = figures = summary(heard)
    for name, value in figures.items():
        print(f"{name:24} {value:.3g}")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")
    return 0


def _fold(path: pathlib.Path) -> int:
    match = re.search(r"fold-(\d+)", path.stem)
    if match is None:
        raise SystemExit(f"{path}: the file's name must be fold-K.tflite")
    return int(match[1])
