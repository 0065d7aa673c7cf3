"""What quantization costs in accuracy and gains in size and time, variant by variant.

Every variant of the same folds answers the same clips of the speakers that its fold
never heard; time and memory come from `edge-ser bench` in fresh processes, one variant
after the other, the time of an inference in every installed interpreter. The first
variant (float32 if it is among them) is what the others are compared with, in paired
bootstraps over speakers.
"""

from __future__ import annotations

import argparse
import gzip
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from benchmarks import amounts, machine, output
from benchmarks.listening import RATE_HZ, load
from benchmarks.strangers import (
    FoldBundle,
    add_fold_arguments,
    check_same_folds,
    fold_bundles,
)
from benchmarks.window import bench
from edge_ser.errors import EdgeSerError
from edge_ser.interpreter import installed_runtimes
from training.metrics import (
    Scored,
    confusion,
    expected_calibration_error,
    intervals,
    paired_difference,
)

Float32 = npt.NDArray[np.float32]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own arguments."""
    add_fold_arguments(parser)
    parser.add_argument(
        "--seconds",
        type=amounts.positive,
        default=3,
        help="for each timing of `edge-ser bench`",
    )
    output.add_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Measure and print."""
    variants = fold_bundles(arguments.bundles, arguments.data, arguments.protocol)
    report = measure(variants, arguments.clips, arguments.seconds)
    report["command"] = output.command(arguments.data)
    output.tell(report, markdown(report), arguments.json)
    return 0


def measure(
    variants: dict[str, list[FoldBundle]], clips_a_fold: int, seconds: float
) -> dict[str, Any]:
    """The report's figures.

    Args:
        clips_a_fold: drawn from each fold's clips; 0 takes all.
        seconds: for each timing.

    Raises:
        EdgeSerError: variants of other folds, or a bundle that cannot run.
    """
    names = list(variants)
    check_same_folds(variants)
    answers = {name: _answers(variants[name], clips_a_fold) for name in names}
    reference = answers[names[0]]
    figures = {}
    for name in names:
        bundle = variants[name][0]
        found = _accuracy(answers[name], reference)
        found |= _size(bundle)
        found["bench"] = bench(bundle.path, seconds)
        found["inference_ms"] = _inference_ms(bundle, found["bench"], seconds)
        figures[name] = found
    return {
        "machine": machine.describe(),
        "reference": names[0],
        "labels": list(reference.labels),
        "clips": len(reference.truth),
        "folds": sorted(fold.fold for fold in variants[names[0]]),
        "variants": figures,
    }


class _Answers:
    """Probabilities of one variant for every clip."""

    def __init__(self, labels: tuple[str, ...]) -> None:
        self.labels = labels
        self.truth: list[int] = []
        self.speakers: list[str] = []
        self.probabilities: list[list[float]] = []

    def scored(self) -> Scored:
        return Scored(
            np.array(self.truth),
            np.array(self.probabilities).argmax(1),
            np.array(self.speakers),
        )


def _answers(folds: list[FoldBundle], clips_a_fold: int) -> _Answers:
    found: _Answers | None = None
    chosen = []
    for fold in folds:
        order = np.random.default_rng(0).permutation(len(fold.clips))
        chosen.append([fold.clips[index] for index in order[: clips_a_fold or None]])
    bar = tqdm(total=sum(map(len, chosen)), unit="clip", disable=None)
    for fold, clips in zip(folds, chosen, strict=True):
        classifier = fold.classifier()
        found = found or _Answers(classifier.labels)
        for clip in clips:
            samples = load(clip.path)
            answer = classifier.classify(samples, RATE_HZ)
            found.truth.append(classifier.labels.index(clip.emotion))
            found.speakers.append(f"{clip.corpus}/{clip.speaker}")
            found.probabilities.append(list(answer.probabilities.values()))
            bar.update()
    bar.close()
    assert found is not None
    return found


def _accuracy(answers: _Answers, reference: _Answers) -> dict[str, Any]:
    scored, first = answers.scored(), reference.scored()
    counts = confusion(scored.truth, scored.predicted, answers.labels)
    both = intervals(scored)
    difference = paired_difference(first, scored)
    confidence = np.array(answers.probabilities).max(1)
    largest = np.abs(
        np.array(answers.probabilities) - np.array(reference.probabilities)
    ).max()
    return {
        "ua": [both["UA"].value, both["UA"].low, both["UA"].high],
        "wa": [both["WA"].value, both["WA"].low, both["WA"].high],
        "ua_change": [difference.value, difference.low, difference.high],
        "agreement": float((scored.predicted == first.predicted).mean()),
        "largest_probability_difference": float(largest),
        "calibration_error": expected_calibration_error(
            confidence, scored.predicted == scored.truth
        ),
        "recall": _recall(counts),
        "recall_change": [
            _recall_change(first, scored, number)
            for number in range(len(answers.labels))
        ],
    }


def _recall_change(first: Scored, second: Scored, label: int) -> list[float]:
    """Of one class, with its paired interval."""
    chosen = first.truth == label
    if not chosen.any():
        return [0.0, 0.0, 0.0]
    one, two = (
        Scored(each.truth[chosen], each.predicted[chosen], each.speaker[chosen])
        for each in (first, second)
    )
    change = paired_difference(one, two)
    return [change.value, change.low, change.high]


def _recall(counts: npt.NDArray[np.int64]) -> list[float]:
    """By class; 0 for a class without clips."""
    return [float(x) for x in np.diag(counts) / np.maximum(counts.sum(1), 1)]


def _size(bundle: FoldBundle) -> dict[str, int]:
    model = bundle.classifier().bundle.model
    return {
        "model_bytes": len(model),
        "compressed_bytes": len(gzip.compress(model, 9, mtime=0)),
    }


def _inference_ms(
    bundle: FoldBundle, first: dict[str, Any], seconds: float
) -> dict[str, float | None]:
    """Processor time of one inference by interpreter; None if that refuses the file.

    Args:
        first: what the default interpreter took.
    """
    found: dict[str, float | None] = {}
    for runtime, version in installed_runtimes().items():
        if runtime == "tensorflow":
            continue
        timed = first
        if runtime != first["interpreter"]:
            try:
                bundle.classifier(runtime)
            except EdgeSerError:
                found[f"{runtime} {version}"] = None
                continue
            timed = bench(bundle.path, seconds, "--interpreter", runtime)
        found[f"{runtime} {version}"] = timed["timings"]["inference"]["cpu_ms"]
    return found


def markdown(report: dict[str, Any]) -> str:
    """Accuracy, cost, and what happens to each class; percent and points."""
    lines = [
        machine.headline(report["machine"]),
        "",
        f"{report['clips']} clips of strangers, folds "
        f"{' '.join(map(str, report['folds']))}",
        "",
        "| variant | UA | WA | difference in UA | agreement | calibration error |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, row in report["variants"].items():
        ua, wa = output.interval(row["ua"]), output.interval(row["wa"])
        change = output.interval(row["ua_change"], "+")
        change = "" if name == report["reference"] else change
        lines.append(
            f"| {name} | {ua} | {wa} | {change} | {100 * row['agreement']:.1f} % "
            f"| {row['calibration_error']:.3f} |"
        )
    lines += [
        "",
        "Milliseconds: p50 / p95 / p99 of wall time, and processor time (cpu).",
        "",
        "| variant | kB | packed | features | cpu | inference | cpu "
        "| a second of audio, cpu | RSS | start |",
        "| --- " * 10 + "|",
    ]
    for name, row in report["variants"].items():
        bench = row["bench"]
        timings = bench["timings"]
        cells = [
            f"{_percentiles(timings[part])} | {timings[part]['cpu_ms']:.2f}"
            for part in ("features", "inference")
        ]
        second_ms = timings["decision"]["cpu_ms"] / bench["hop_s"]
        lines.append(
            f"| {name} | {row['model_bytes'] / 1000:.0f} "
            f"| {row['compressed_bytes'] / 1000:.0f} | {' | '.join(cells)} "
            f"| {second_ms:.2f} | {bench['peak_rss_mib']:.0f} MiB "
            f"| {bench['first_decision']['p50_ms']:.0f} |"
        )
    variants = report["variants"]
    lines += _interpreters(variants)
    lines += [
        "",
        "Recall of each class in percent, and its difference in points, paired:",
        "",
        "".join(["| class |", *(f" {name} |" for name in variants)]),
        "| --- " * (len(variants) + 1) + "|",
    ]
    for number, label in enumerate(report["labels"]):
        cells = []
        for name, row in variants.items():
            change = f" ({output.interval(row['recall_change'][number], '+')})"
            shown = "" if name == report["reference"] else change
            cells.append(f"{100 * row['recall'][number]:.1f}{shown}")
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _interpreters(variants: dict[str, Any]) -> list[str]:
    """One inference in each interpreter; none in a report of an earlier version."""
    names = {name for row in variants.values() for name in row.get("inference_ms", ())}
    if not names:
        return []
    lines = [
        "",
        "Milliseconds of processor time for one inference, by interpreter:",
        "",
        "".join(["| variant |", *(f" {name} |" for name in sorted(names))]),
        "| --- " * (len(names) + 1) + "|",
    ]
    for variant, row in variants.items():
        found = [row.get("inference_ms", {}).get(name) for name in sorted(names)]
        cells = ["refused" if ms is None else f"{ms:.3f}" for ms in found]
        lines.append(f"| {variant} | " + " | ".join(cells) + " |")
    return lines


def _percentiles(timing: dict[str, float]) -> str:
    cells = (timing["p50_ms"], timing["p95_ms"], timing["p99_ms"])
    return " / ".join(f"{ms:.2f}" for ms in cells)
