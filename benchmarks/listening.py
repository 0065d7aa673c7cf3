"""What the listener announces: in noise, and when a stranger speaks.

Everything at one and the same setting, the listener's default. Noise: hours assembled
from the recordings marked ``test``, at varied levels; every announcement is false.
Speech: test speakers of each fold in such noise, one utterance after the other, heard
by the bundle that was trained without them; how many are announced, rightly, after
what delay from the onset, and how often the label changes within one. The same with
very quiet speech and in rooms (impulse responses marked ``test``; a fold's speakers
live in each of them in turn, and the listener gets used to it), and a quarter of the
hours each of many voices at once and of computed music: hard cases.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import pathlib
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks import amounts, output
from benchmarks.machine import describe, headline
from benchmarks.strangers import add_fold_arguments, fold_bundles
from edge_ser.adaptation import AdaptationSettings
from edge_ser.audio.file import read_blocks
from edge_ser.classifier import Classifier
from edge_ser.decision import IDLE, UNCERTAIN, DecisionSettings
from edge_ser.errors import ConfigError
from edge_ser.pipeline import Decided, Pipeline
from edge_ser.vad import GateSettings
from training.corpora import Clip, find_clips

Float32 = npt.NDArray[np.float32]

RATE_HZ = 16000
NOISE_SCENE_S = (10.0, 40.0)
NOISE_LEVEL_DB = (-60.0, -20.0)
# Silence between utterances: long enough for every one to begin from idle.
PAUSE_S = (4.5, 6.0)
_ACTIVE_SHARE = 0.06
BABBLE_VOICES = 6


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own arguments."""
    add_fold_arguments(parser)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--hours", type=amounts.positive, default=4.0, help="of noise")
    output.add_argument(parser)


@dataclasses.dataclass(frozen=True)
class Setting:
    """How loud people speak, in dB of full scale and above the noise, and where."""

    level_db: tuple[float, float] = (-38.0, -18.0)
    snr_db: tuple[float, float] = (10.0, 35.0)
    in_rooms: bool = False
    adapts: bool = True
    """Whether the listener gets used to where it is."""


# The goals are for the first.
SETTINGS = {
    "speech": Setting(),
    "quiet speech": Setting(level_db=(-47.0, -43.0)),
    "speech in rooms": Setting(in_rooms=True),
    "in rooms, not used to them": Setting(in_rooms=True, adapts=False),
}


@dataclasses.dataclass
class Heard:
    """One utterance and what was announced for it."""

    truth: str
    onset_s: float
    labels: list[str] = dataclasses.field(default_factory=list)
    first_s: float | None = None
    """When the first emotion was announced; ``uncertain`` is none."""


def load(path: pathlib.Path) -> Float32:
    """A whole file at 16 kHz."""
    return np.concatenate(list(read_blocks(path, RATE_HZ)))


def unheard(data: pathlib.Path, kind: str) -> dict[str, Float32]:
    """The recordings (``noise`` or ``rir``) that no training has heard, by name."""
    with (data / kind / "split.csv").open() as file:
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


def noise_scenes(
    noises: dict[str, Float32], hours: float, random: np.random.Generator
) -> Iterator[tuple[str, Float32]]:
    """Stretches of noise, each with what it is and how loud."""
    left_s = hours * 3600
    while left_s > 0:
        name, noise = excerpt(noises, random.uniform(*NOISE_SCENE_S), random)
        level_db = random.uniform(*NOISE_LEVEL_DB)
        yield f"{name} at {level_db:.0f} dBFS", at_level(noise, level_db)
        left_s -= len(noise) / RATE_HZ


def babble(
    voices: list[pathlib.Path], hours: float, random: np.random.Generator
) -> Iterator[tuple[str, Float32]]:
    """Many people at once: minutes of as many streams of clips, in no relation."""
    for _ in range(max(1, round(hours * 60))):
        mixed = np.zeros(60 * RATE_HZ, np.float32)
        for _ in range(BABBLE_VOICES):
            position = 0
            while position < len(mixed):
                clip = at_level(load(voices[random.integers(len(voices))]), -30)
                clip = clip[: len(mixed) - position]
                mixed[position : position + len(clip)] += clip
                position += len(clip)
        yield "babble", at_level(mixed, random.uniform(-38, -18))


def music(hours: float, random: np.random.Generator) -> Iterator[tuple[str, Float32]]:
    """Minutes of plucked chords, a melody and a beat, in a random key and tempo."""
    scale = np.array([0, 2, 4, 5, 7, 9, 11, 12])
    for _ in range(max(1, round(hours * 60))):
        beat = round(60 / random.uniform(70, 150) * RATE_HZ)
        time_s = np.arange(4 * beat) / RATE_HZ
        key_hz = 110 * 2 ** random.uniform(0, 1)
        bars = []
        while len(bars) * 4 * beat < 60 * RATE_HZ:
            bar = np.zeros(4 * beat)
            root = int(random.integers(5))
            notes = [(scale[(root + step) % 8], 0, 0.5) for step in (0, 2, 4)]
            notes += [(12 + scale[random.integers(8)], n, 1.0) for n in range(4)]
            for semitones, at, gain in notes:
                ring = time_s[: len(bar) - at * beat]
                for overtone in range(1, 7):
                    pitch_hz = key_hz * 2 ** (semitones / 12) * overtone
                    tone = np.sin(2 * np.pi * pitch_hz * ring) * np.exp(-3 * ring)
                    bar[at * beat :] += gain / overtone * tone
            for at in range(4):
                hit = random.standard_normal(beat) * np.exp(-60 * time_s[:beat])
                bar[at * beat : (at + 1) * beat] += hit
            bars.append(bar)
        tune = np.concatenate(bars)[: 60 * RATE_HZ].astype(np.float32)
        yield "music", at_level(tune, random.uniform(-38, -18))


def hear_no_talk(
    classifier: Classifier, scenes: Iterable[tuple[str, Float32]]
) -> dict[str, object]:
    """What is announced where nobody talks to anybody."""
    pipeline = Pipeline(classifier)
    events = [
        f"{each.decision.label}: {what}"
        for what, scene in scenes
        for each in pipeline.push(scene)
        if each.decision.label != IDLE
    ]
    hours = pipeline.position_s / 3600
    return {
        "hours": hours,
        "events": len(events),
        "events_per_hour": len(events) / hours,
        "emotion_model_runs_per_hour": pipeline.windows / hours,
        "announced": events[:100],
    }


def in_room(samples: Float32, response: Float32) -> Float32:
    """As it sounds there, of the same length, with its loudest moment in place."""
    response = response[int(np.argmax(np.abs(response))) :][:RATE_HZ]
    size = 1 << (len(samples) + len(response)).bit_length()
    spectrum = np.fft.rfft(samples, size) * np.fft.rfft(response, size)
    return np.asarray(np.fft.irfft(spectrum)[: len(samples)], np.float32)


def utterances(
    clips: list[Clip],
    noises: dict[str, Float32],
    random: np.random.Generator,
    setting: Setting | None = None,
    room: Float32 | None = None,
) -> Iterator[tuple[str, float, Float32]]:
    """For each clip its emotion, its onset in the scene in seconds, and the scene.

    Args:
        room: the impulse response of the one they are all in.
    """
    setting = setting or Setting()
    for clip in clips:
        speech = load(clip.path)
        power = np.convolve(np.square(speech), np.full(320, 1 / 320), "same")
        active = np.flatnonzero(power > _ACTIVE_SHARE**2 * power.max())
        speech = speech[max(0, active[0] - 800) : active[-1] + 1600]
        level_db = random.uniform(*setting.level_db)
        pause = round(random.uniform(*PAUSE_S) * RATE_HZ)
        _, noise = excerpt(noises, (pause + len(speech)) / RATE_HZ, random)
        scene = at_level(noise, level_db - random.uniform(*setting.snr_db))
        begin = pause // 2
        onset = begin + min(800, int(active[0]))
        if room is not None:
            speech = in_room(speech, room)
        scene[begin : begin + len(speech)] += at_level(speech, level_db)
        yield clip.emotion, onset / RATE_HZ, np.clip(scene, -1, 1)


def hear_speech(
    classifier: Classifier,
    scenes: Iterable[tuple[str, float, Float32]],
    adaptation: AdaptationSettings | None = None,
) -> list[Heard]:
    """What is announced for each utterance."""
    pipeline = Pipeline(classifier, adaptation=adaptation)
    heard = []
    for truth, onset_s, scene in scenes:
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
    """The figures of some utterances; "announced" is with an emotion."""
    emotions = [
        [label for label in each.labels if label != UNCERTAIN] for each in heard
    ]
    announced = sum(map(bool, emotions))
    first_right = sum(
        bool(labels) and labels[0] == each.truth
        for each, labels in zip(heard, emotions, strict=True)
    )
    delays_s = [each.first_s - each.onset_s for each in heard if each.first_s]
    changes = [max(0, len(each.labels) - 1) for each in heard]
    return {
        "utterances": len(heard),
        "announced": announced / len(heard),
        "announced_or_uncertain": sum(bool(each.labels) for each in heard) / len(heard),
        "right_of_announced": first_right / max(1, announced),
        "right_of_all": first_right / len(heard),
        "median_delay_s": float(np.median(delays_s)) if delays_s else float("nan"),
        "p90_delay_s": float(np.percentile(delays_s, 90)) if delays_s else float("nan"),
        "changes_per_utterance": float(np.mean(changes)),
    }


def run(arguments: argparse.Namespace) -> int:
    """Score and print."""
    data, seed = arguments.data, arguments.seed
    noises, rooms = unheard(data, "noise"), unheard(data, "rir")
    variants = fold_bundles(arguments.bundles, data, arguments.protocol)
    if len(variants) > 1:
        raise ConfigError(f"bundles of {', '.join(variants)} given; valid: one variant")
    folds = [(each, each.classifier()) for each in next(iter(variants.values()))]
    first = folds[0][1]
    machine = describe()
    results: dict[str, Any] = {
        "command": output.command(data),
        "machine": machine,
        "model": first.card.title,
        "gate": dataclasses.asdict(GateSettings()),
        "decision": dataclasses.asdict(DecisionSettings()),
        "adaptation": dataclasses.asdict(AdaptationSettings()),
    }
    voices = [clip.path for clip in find_clips(data / "nemo", ["nemo"])]
    for name, scenes in (
        ("noise", noise_scenes(noises, arguments.hours, np.random.default_rng(seed))),
        ("babble", babble(voices, arguments.hours / 4, np.random.default_rng(seed))),
        ("music", music(arguments.hours / 4, np.random.default_rng(seed))),
    ):
        results[name] = hear_no_talk(first, scenes)
    for name, setting in SETTINGS.items():
        heard: list[Heard] = []
        for each, classifier in folds:
            chosen = list(each.clips)
            np.random.default_rng(seed).shuffle(chosen)  # type: ignore[arg-type]
            chosen = chosen[: arguments.clips or None]
            random = np.random.default_rng(seed + each.fold)
            where = list(rooms.values()) if setting.in_rooms else [None]
            used = AdaptationSettings(enabled=setting.adapts)
            for number, room in enumerate(where):
                clips = chosen[number :: len(where)]
                scenes = utterances(clips, noises, random, setting, room)
                heard += hear_speech(classifier, scenes, used)
        results[name] = summary(heard)
    output.tell(results, markdown(results), arguments.json)
    return 0


def markdown(report: dict[str, Any]) -> str:
    """What was announced where nobody spoke, and where strangers did."""
    lines = [
        headline(report["machine"]),
        "",
        "| nobody speaks to it | hours | events | an hour | model runs an hour |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name in ("noise", "babble", "music"):
        row = report[name]
        lines.append(
            f"| {name} | {row['hours']:.3g} | {row['events']} "
            f"| {row['events_per_hour']:.2f} "
            f"| {row['emotion_model_runs_per_hour']:.0f} |"
        )
    lines += [
        "",
        "| strangers speak | utterances | with an emotion | or `uncertain` "
        "| first emotion right | median delay | changes |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name in SETTINGS:
        row = report[name]
        lines.append(
            f"| {name} | {row['utterances']} | {100 * row['announced']:.1f} % "
            f"| {100 * row['announced_or_uncertain']:.1f} % "
            f"| {100 * row['right_of_announced']:.1f} % "
            f"| {row['median_delay_s']:.2f} s | {row['changes_per_utterance']:.2f} |"
        )
    return "\n".join(lines)
