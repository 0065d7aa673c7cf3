"""What it is worth that a listener gets used to its room.

Test speakers of each fold speak in one place, clip after clip: in the studio as they
were recorded, in each of the rooms (impulse responses marked ``test``), there with
environmental noise at 10 dB, and over a telephone's band. Every clip is answered by the
bundle that was trained without them, three times: for itself alone; by one that has
heard the same speaker's clips before, in the same place; and by one that has heard all
of the fold's speakers there, in turn. The clips' order is random and the same for all;
what an answer knows is of clips before, and of what its own said so far. No label is
used. Intervals are over speakers; those of a household share what is known, so its
intervals are too narrow if anything.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import pathlib
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from benchmarks import machine, output
from benchmarks.listening import load, unheard
from benchmarks.perturbations import PERTURBATIONS, RATE_HZ, Surroundings
from benchmarks.strangers import FoldBundle, add_fold_arguments, fold_bundles
from edge_ser.adaptation import Adaptation, AdaptationSettings
from edge_ser.errors import BundleError, ConfigError
from training.corpora import Clip
from training.metrics import Scored, intervals, paired_difference

Float32 = npt.NDArray[np.float32]
Place = Callable[[Float32, np.random.Generator], Float32]

ALONE, PERSON, HOUSEHOLD = "each clip alone", "one person", "a household"
_MODES = (ALONE, PERSON, HOUSEHOLD)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own arguments."""
    add_fold_arguments(parser)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--only",
        nargs="+",
        default=[],
        metavar="WORD",
        help="places whose name holds one of these words (default: all)",
    )
    output.add_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Measure and print."""
    variants = fold_bundles(arguments.bundles, arguments.data, arguments.protocol)
    if len(variants) > 1:
        raise ConfigError(f"bundles of {', '.join(variants)} given; valid: one variant")
    ((variant, folds),) = variants.items()
    everywhere = places(arguments.data)
    for word in arguments.only:
        if not any(word in name for name in everywhere):
            raise ConfigError(
                f"no place is named {word}; valid: {'; '.join(everywhere)}"
            )
    chosen = {
        name: place
        for name, place in everywhere.items()
        if not arguments.only or any(word in name for word in arguments.only)
    }
    answers = hear(folds, chosen, arguments.clips or None, arguments.seed)
    report = {
        "machine": machine.describe(),
        "command": output.command(arguments.data),
        "protocol": arguments.protocol,
        "variant": variant,
        "seed": arguments.seed,
        "settings": dataclasses.asdict(AdaptationSettings()),
        "folds": sorted(fold.fold for fold in folds),
        **figures(answers),
    }
    output.tell(report, markdown(report), arguments.json)
    return 0


def places(data: pathlib.Path) -> dict[str, tuple[str, Place]]:
    """Each place by name, with the group in which it is told."""
    noises = list(unheard(data, "noise").values())
    changes = {each.name: each.change for each in PERTURBATIONS}

    def place(change: str, *rooms: Float32) -> Place:
        around = Surroundings(noises, rooms, ())
        return lambda samples, random: changes[change](samples, random, around)

    rooms = unheard(data, "rir")
    found: dict[str, tuple[str, Place]] = {
        "studio": ("studio", lambda samples, random: samples)
    }
    for name, response in rooms.items():
        found[name] = ("rooms", place("room", response))
    for name, response in rooms.items():
        noisy = place("room and environment, 10 dB", response)
        found[f"{name}, noise"] = ("rooms with noise at 10 dB", noisy)
    found["telephone band"] = ("telephone band", place("telephone band"))
    return found


@dataclasses.dataclass(frozen=True)
class Answer:
    """One clip's, in one place."""

    clip: Clip
    group: str
    place: str
    labels: dict[str, str]
    """By mode."""


def hear(
    folds: list[FoldBundle],
    everywhere: dict[str, tuple[str, Place]],
    limit: int | None,
    seed: int,
) -> list[Answer]:
    """Every clip in every place, in each of the modes.

    Raises:
        BundleError: a bundle that cannot get used to a place.
    """
    answers = []
    total = sum(len(fold.clips[:limit]) for fold in folds) * len(everywhere)
    bar = tqdm(total=total, unit="clip", disable=None)
    for fold in sorted(folds, key=lambda each: each.fold):
        classifier = fold.classifier()
        order = np.random.default_rng(seed).permutation(len(fold.clips))[:limit]
        clips = [fold.clips[index] for index in order]
        sounds = [load(clip.path) for clip in clips]

        def used(path: pathlib.Path = fold.path) -> Adaptation:
            adaptation = classifier.adaptation()  # noqa: B023 - called in this round
            if adaptation is None:
                raise BundleError(f"{path}: its card tells nothing of its speakers")
            return adaptation

        for place, (group, change) in everywhere.items():
            household = used()
            persons: dict[str, Adaptation] = collections.defaultdict(used)
            for clip, sound in zip(clips, sounds, strict=True):
                # The same clip suffers the same noise in every run.
                own = zlib.crc32(f"{clip.name} {place}".encode())
                heard = change(sound, np.random.default_rng([seed, own]))
                known = (None, persons[clip.speaker_key], household)
                labels = {
                    mode: classifier.classify(heard, RATE_HZ, adaptation=each).label
                    for mode, each in zip(_MODES, known, strict=True)
                }
                answers.append(Answer(clip, group, place, labels))
                bar.update()
    bar.close()
    return answers


def figures(answers: list[Answer]) -> dict[str, Any]:
    """UA of each group of places and of each place, by mode."""
    groups: dict[str, list[Answer]] = collections.defaultdict(list)
    single: dict[str, list[Answer]] = collections.defaultdict(list)
    for answer in answers:
        groups[answer.group].append(answer)
        single[answer.place].append(answer)
    return {
        "clips": len({(answer.clip.corpus, answer.clip.name) for answer in answers}),
        "groups": {name: _modes(of_group) for name, of_group in groups.items()},
        "places": {name: _modes(of_place) for name, of_place in single.items()},
    }


def _modes(answers: list[Answer]) -> dict[str, Any]:
    scored = {mode: _scored(answers, mode) for mode in _MODES}
    found: dict[str, Any] = {}
    for mode, each in scored.items():
        ua = intervals(each)["UA"]
        found[mode] = {"ua": [ua.value, ua.low, ua.high]}
        if mode != ALONE:
            gain = paired_difference(scored[ALONE], each)
            found[mode]["gain"] = [gain.value, gain.low, gain.high]
    return found


def _scored(answers: list[Answer], mode: str) -> Scored:
    truth = [answer.clip.emotion for answer in answers]
    heard = [answer.labels[mode] for answer in answers]
    names = sorted({*truth, *heard})
    codes = {name: code for code, name in enumerate(names)}
    return Scored(
        np.array([codes[name] for name in truth]),
        np.array([codes[name] for name in heard]),
        np.array([answer.clip.speaker_key for answer in answers]),
    )


def markdown(report: dict[str, Any]) -> str:
    """UA in percent, and what getting used to the place gains."""
    lines = [
        f"{report['clips']} clips of strangers, folds "
        f"{' '.join(map(str, report['folds']))} of {report['protocol']}, "
        f"{report['variant']}; UA in percent with 95 % intervals over speakers, and in "
        "points what is gained by having heard the clips before, of the same person or "
        "of a household, in the same place.",
        "",
        f"| place | {ALONE} | after {PERSON} | gain | after {HOUSEHOLD} | gain |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    rows = dict(report["groups"])
    rows |= {
        f"- {name}": row for name, row in report["places"].items() if name not in rows
    }
    for name, row in rows.items():
        cells = [output.interval(row[ALONE]["ua"])]
        for mode in (PERSON, HOUSEHOLD):
            cells.append(output.interval(row[mode]["ua"]))
            cells.append(output.interval(row[mode]["gain"], "+"))
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
