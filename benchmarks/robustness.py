"""What becomes of the answers when the recording is not a studio's.

Every clip of a fold's test speakers is answered as it is and under each change, by the
bundle that was trained without them, and the same audio by every variant.
``unchanged`` is the share of answers that
stayed, ``UA`` the unweighted average recall under the change, with its difference from
the clean clips in a paired bootstrap over speakers. Several variants of the same folds
show whether quantization makes a model more fragile.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from benchmarks import machine, output
from benchmarks.listening import load, unheard
from benchmarks.perturbations import PERTURBATIONS, RATE_HZ, Perturbation, Surroundings
from benchmarks.strangers import (
    FoldBundle,
    add_fold_arguments,
    check_same_folds,
    fold_bundles,
)
from edge_ser.errors import ConfigError
from training.corpora import Clip
from training.metrics import (
    Scored,
    intervals,
    paired_difference,
    unpaired_difference,
    unweighted_average_recall,
)

Float32 = npt.NDArray[np.float32]

_CLEAN = "clean"
_VOICES = 60


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own arguments."""
    add_fold_arguments(parser)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--only",
        nargs="+",
        default=[],
        metavar="WORD",
        help="changes whose name holds one of these words (default: all)",
    )
    output.add_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Measure and print."""
    for word in arguments.only:
        if not any(word in each.name for each in PERTURBATIONS):
            raise ConfigError(
                f"no change is named {word}; valid: "
                f"{'; '.join(each.name for each in PERTURBATIONS)}"
            )
    chosen = [
        each
        for each in PERTURBATIONS
        if not arguments.only or any(word in each.name for word in arguments.only)
    ]
    variants = fold_bundles(arguments.bundles, arguments.data, arguments.protocol)
    report = {
        "machine": machine.describe(),
        "command": output.command(arguments.data),
        "protocol": arguments.protocol,
        "seed": arguments.seed,
        "variants": measure(variants, chosen, arguments),
    }
    output.tell(report, markdown(report), arguments.json)
    return 0


@dataclasses.dataclass
class _Heard:
    """The clips in the order they were heard, and every variant's answers."""

    clips: list[Clip] = dataclasses.field(default_factory=list)
    answers: dict[tuple[str, str], list[str]] = dataclasses.field(
        default_factory=lambda: collections.defaultdict(list)
    )
    """Labels by variant and change; the unchanged clip is under `_CLEAN`."""

    def scored(self, variant: str, change: str, labels: tuple[str, ...]) -> Scored:
        codes = {label: index for index, label in enumerate(labels)}
        return Scored(
            np.array([codes[clip.emotion] for clip in self.clips]),
            np.array([codes[label] for label in self.answers[variant, change]]),
            np.array([f"{clip.corpus}/{clip.speaker}" for clip in self.clips]),
        )


def measure(
    variants: dict[str, list[FoldBundle]],
    changes: list[Perturbation],
    arguments: argparse.Namespace,
) -> dict[str, Any]:
    """Figures of each variant: clean, by change, and by gender and corpus.

    Raises:
        EdgeSerError: variants of other folds.
    """
    check_same_folds(variants)
    heard, labels = _hear(variants, changes, arguments)
    return {
        name: {
            "clips": len(heard.clips),
            "folds": sorted(fold.fold for fold in folds),
            **_variant(heard, name, labels, changes),
        }
        for name, folds in variants.items()
    }


def _hear(
    variants: dict[str, list[FoldBundle]],
    changes: list[Perturbation],
    arguments: argparse.Namespace,
) -> tuple[_Heard, tuple[str, ...]]:
    noises = list(unheard(arguments.data, "noise").values())
    rooms = list(unheard(arguments.data, "rir").values())
    heard = _Heard()
    by_fold = [sorted(folds, key=lambda f: f.fold) for folds in variants.values()]
    limit = arguments.clips or None
    total = sum(len(fold.clips[:limit]) for fold in by_fold[0])
    bar = tqdm(total=total, unit="clip", disable=None)
    for same_fold in zip(*by_fold, strict=True):
        classifiers = {
            name: fold.classifier()
            for name, fold in zip(variants, same_fold, strict=True)
        }
        of_fold = same_fold[0].clips
        order = np.random.default_rng(arguments.seed).permutation(len(of_fold))
        voices = _voices(same_fold[0], by_fold[0], arguments.seed)
        for clip in (of_fold[index] for index in order[:limit]):
            samples = load(clip.path)
            others = [voice for speaker, voice in voices if speaker != clip.speaker]
            around = Surroundings(noises, rooms, others)
            heard.clips.append(clip)
            for change in (None, *changes):
                changed, title = samples, _CLEAN
                if change is not None:
                    # The same clip suffers the same change in every run.
                    title = change.name
                    seed = zlib.crc32(f"{clip.name} {title}".encode())
                    random = np.random.default_rng([arguments.seed, seed])
                    changed = change.change(samples, random, around)
                for name, classifier in classifiers.items():
                    answer = classifier.classify(changed, RATE_HZ)
                    heard.answers[name, title].append(answer.label)
            bar.update()
    bar.close()
    return heard, next(iter(classifiers.values())).labels


def _voices(
    fold: FoldBundle, folds: list[FoldBundle], seed: int
) -> list[tuple[str, Float32]]:
    """Clips for babble with their speakers: of the fold, strangers to its model.

    A fold of one speaker takes those of the other folds, for want of others.
    """
    clips = list(fold.clips)
    if len({clip.speaker for clip in clips}) == 1:
        clips = [clip for each in folds for clip in each.clips]
    order = np.random.default_rng(seed).permutation(len(clips))[:_VOICES]
    return [(clips[index].speaker, load(clips[index].path)) for index in order]


def _variant(
    heard: _Heard, name: str, labels: tuple[str, ...], changes: list[Perturbation]
) -> dict[str, Any]:
    clean = heard.scored(name, _CLEAN, labels)
    changed = {change: heard.scored(name, change.name, labels) for change in changes}
    rows = [_figures(change, clean, scored) for change, scored in changed.items()]
    judged = [row["passed"] for row in rows if row["passed"] is not None]
    return {
        "clean_ua": _ua(clean),
        "passed": sum(judged),
        "judged": len(judged),
        "groups": {
            "gender": _groups([clip.gender for clip in heard.clips], clean, changed),
            "corpus": _groups([clip.corpus for clip in heard.clips], clean, changed),
        },
        "changes": rows,
    }


def _groups(
    of_clip: list[str], clean: Scored, changed: dict[Perturbation, Scored]
) -> dict[str, Any]:
    """Each group's figures, and how far the first is from the second if there are two.

    ``least_unchanged`` and ``least_ua_change`` are of the change that hurts it most.
    """
    parts = {
        group: np.array([each == group for each in of_clip])
        for group in sorted(set(of_clip))
    }
    found: dict[str, Any] = {}
    for group, chosen in parts.items():
        before = _part(clean, chosen)
        after = {change: _part(each, chosen) for change, each in changed.items()}
        noises = [
            unweighted_average_recall(scored.truth, scored.predicted)
            - unweighted_average_recall(before.truth, before.predicted)
            for change, scored in after.items()
            if change.least_ua_change is not None
        ]
        small = [
            float((before.predicted == scored.predicted).mean())
            for change, scored in after.items()
            if change.least_unchanged is not None
        ]
        found[group or "unknown"] = {
            "clips": int(chosen.sum()),
            "clean_ua": _ua(before),
            "least_ua_change": min(noises, default=None),
            "least_unchanged": min(small, default=None),
        }
    if len(parts) == 2:
        first, second = (_part(clean, chosen) for chosen in parts.values())
        gap = unpaired_difference(second, first)
        found["difference"] = [gap.value, gap.low, gap.high]
    return found


def _part(scored: Scored, chosen: npt.NDArray[np.bool_]) -> Scored:
    return Scored(
        scored.truth[chosen], scored.predicted[chosen], scored.speaker[chosen]
    )


def _ua(scored: Scored) -> list[float]:
    ua = intervals(scored)["UA"]
    return [ua.value, ua.low, ua.high]


def _figures(change: Perturbation, clean: Scored, changed: Scored) -> dict[str, Any]:
    difference = paired_difference(clean, changed)
    unchanged = float((clean.predicted == changed.predicted).mean())
    kept = change.least_unchanged is None or unchanged >= change.least_unchanged
    heard = change.least_ua_change is None or difference.value >= change.least_ua_change
    return {
        "name": change.name,
        "ua": intervals(changed)["UA"].value,
        "ua_change": [difference.value, difference.low, difference.high],
        "unchanged": unchanged,
        "least_unchanged": change.least_unchanged,
        "least_ua_change": change.least_ua_change,
        "passed": None
        if change.least_unchanged is None and change.least_ua_change is None
        else kept and heard,
    }


def markdown(report: dict[str, Any]) -> str:
    """What passed, by variant; then genders and corpora; percent and points."""
    variants = report["variants"]
    first = next(iter(variants.values()))
    lines = [
        f"{first['clips']} clips of strangers, folds "
        f"{' '.join(map(str, first['folds']))} of {report['protocol']}. A cell: change "
        "of UA in points (its 95 % interval is in the picture), answers unchanged, and "
        "whether the threshold of audEERING's tests is kept.",
        "",
        "".join(["| change | wanted at least |", *(f" {name} |" for name in variants)]),
        "| --- " * (2 + len(variants)) + "|",
    ]
    for number, row in enumerate(first["changes"]):
        wanted = []
        if row["least_ua_change"] is not None:
            wanted.append(f"{100 * row['least_ua_change']:.0f} points")
        if row["least_unchanged"] is not None:
            wanted.append(f"{100 * row['least_unchanged']:.0f} %")
        cells = [_cell(figures["changes"][number]) for figures in variants.values()]
        lines.append(
            f"| {row['name']} | {', '.join(wanted)} | " + " | ".join(cells) + " |"
        )
    sums = [f"{f['passed']} of {f['judged']} passed" for f in variants.values()]
    lines += ["| all | | " + " | ".join(sums) + " |", ""]
    lines += [
        "Worst noise: the largest fall of UA among the changes with a bound on it. "
        "Worst change: the least share of answers unchanged among those with a bound "
        "on that.",
        "",
        "| variant | group | clips | UA, clean | worst noise | worst change |",
        "| --- " * 6 + "|",
    ]
    gaps = []
    for name, figures in variants.items():
        for groups in figures["groups"].values():
            for group, row in groups.items():
                if group != "difference":
                    lines.append(f"| {name} | {group} | {_group(row)} |")
            if "difference" in groups:
                one, other = (group for group in groups if group != "difference")
                gap = output.interval(groups["difference"], "+")
                gaps.append(
                    f"- {name}: UA of {one} minus that of {other}: {gap} points"
                )
    lines += ["", *gaps]
    if len(first["groups"]["corpus"]) == 1:
        (corpus,) = first["groups"]["corpus"]
        lines += [
            "",
            f"All strangers are of {corpus}: other corpora's speakers had a part in "
            "training. Corpora are compared by bundles of folds that leave whole "
            "corpora out (`--protocol leave-one-corpus-out`).",
        ]
    return "\n".join(lines).rstrip()


def _cell(row: dict[str, Any]) -> str:
    verdict = {None: "", True: ": passed", False: ": **missed**"}[row["passed"]]
    return f"{100 * row['ua_change'][0]:+.1f}, {100 * row['unchanged']:.1f} %{verdict}"


def _group(row: dict[str, Any]) -> str:
    noise, small = row["least_ua_change"], row["least_unchanged"]
    cells = [str(row["clips"]), output.interval(row["clean_ua"])]
    cells.append("" if noise is None else f"{100 * noise:+.1f}")
    cells.append("" if small is None else f"{100 * small:.1f} %")
    return " | ".join(cells)
