"""MFCC of edge-ser, librosa and python_speech_features beside a bare rfft.

Every contender runs in a fresh process with one thread and gets the same audio, FFT
size, hop and bands. The floor is ``numpy.fft.rfft`` over the same frames in blocks of
50: what the FFT alone costs with this numpy.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks import amounts, machine, output, process
from edge_ser import stopwatch
from edge_ser.features import FeatureSpec, FeatureStream, mfcc

CONTENDERS = ("floor", "edge-ser", "librosa", "python_speech_features")
SPEC = FeatureSpec()
_WINDOW_S, _HOP_S = 2.56, 0.5
_BLOCK = 50


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's options."""
    parser.add_argument(
        "--seconds",
        type=amounts.positive,
        nargs="+",
        default=[1.0, 3.0, 60.0],
        help="of audio",
    )
    parser.add_argument(
        "--rounds",
        type=amounts.at_least_one,
        default=5,
        help="fresh processes a contender (5)",
    )
    parser.add_argument(
        "--budget",
        type=amounts.positive,
        default=0.6,
        help="seconds of timing a process (0.6)",
    )
    output.add_argument(parser)
    parser.add_argument("--check", action="store_true", help="exit 1 on a missed goal")
    parser.add_argument("--one", help=argparse.SUPPRESS)


def run(arguments: argparse.Namespace) -> int:
    """Measure, print, and with ``--check`` judge."""
    if arguments.one:
        print(time_one(arguments.one, arguments.seconds[0], arguments.budget))
        return 0
    report: dict[str, Any] = {
        "command": output.command(),
        "machine": machine.describe(),
        "clips": [],
    }
    for seconds in arguments.seconds:
        report["clips"].append(_clip(seconds, arguments))
    report["streaming"] = _streaming(arguments)
    missed = goals_missed(report)
    report["missed"] = missed
    output.tell(report, markdown(report), arguments.json)
    return 1 if arguments.check and missed else 0


def time_one(contender: str, seconds: float, budget_s: float) -> float:
    """Median milliseconds of processor time of one call, in this process.

    The same as by the clock where nothing else runs, and still fair where something
    does.
    """
    timing = stopwatch.measure(_call(contender, seconds), budget_s)
    return timing.cpu_ms or 0.0


def _call(contender: str, seconds: float) -> Callable[[], Any]:
    rate_hz = SPEC.sample_rate_hz
    random = np.random.default_rng(0)
    samples = (random.standard_normal(round(seconds * rate_hz)) * 0.1).astype("f4")
    if contender == "floor":
        return _floor(len(samples))
    if contender == "edge-ser":
        return lambda: mfcc(samples, SPEC)
    if contender == "edge-ser-hop":
        stream = FeatureStream(SPEC)
        hop = samples[: round(_HOP_S * rate_hz)]
        return lambda: stream.push(hop)
    if contender == "librosa":
        import librosa

        return lambda: librosa.feature.mfcc(
            y=samples,
            sr=rate_hz,
            n_mfcc=SPEC.n_mfcc,
            n_fft=SPEC.n_fft,
            win_length=SPEC.window_samples,
            hop_length=SPEC.hop_samples,
            n_mels=SPEC.n_mels,
            center=False,
        )
    if contender == "python_speech_features":
        import python_speech_features

        return lambda: python_speech_features.mfcc(
            samples,
            rate_hz,
            winlen=SPEC.window_ms / 1000,
            winstep=SPEC.hop_ms / 1000,
            numcep=SPEC.n_mfcc,
            nfilt=SPEC.n_mels,
            nfft=SPEC.n_fft,
            winfunc=np.hanning,
        )
    raise SystemExit(f"unknown contender {contender!r}; valid: {', '.join(CONTENDERS)}")


def _floor(n_samples: int) -> Callable[[], Any]:
    count = 1 + (n_samples - SPEC.window_samples) // SPEC.hop_samples
    # numpy < 2 computes in float64, so float32 would add a conversion to the floor.
    dtype = np.float32 if np.__version__ >= "2" else np.float64
    frames = np.random.default_rng(0).standard_normal((count, SPEC.n_fft)).astype(dtype)

    def blocks() -> None:
        for start in range(0, count, _BLOCK):
            np.fft.rfft(frames[start : start + _BLOCK])

    return blocks


def _fresh(contender: str, seconds: float, budget_s: float) -> float:
    options = ["--one", contender]
    options += ["--seconds", str(seconds), "--budget", str(budget_s)]
    return float(process.answer(process.command("features", *options)))


def _rounds(
    names: tuple[str, ...], seconds: float, arguments: argparse.Namespace
) -> dict[str, float]:
    # Rounds alternate, so that a busy minute of the machine hits every contender.
    times: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(arguments.rounds):
        for name in names:
            times[name].append(_fresh(name, seconds, arguments.budget))
    return {name: statistics.median(values) for name, values in times.items()}


def _clip(seconds: float, arguments: argparse.Namespace) -> dict[str, Any]:
    times = _rounds(CONTENDERS, seconds, arguments)
    return {"seconds": seconds, "ms": times}


def _streaming(arguments: argparse.Namespace) -> dict[str, float]:
    """One decision: our new frames, against librosa over the whole window."""
    times = _rounds(("edge-ser-hop", "librosa"), _WINDOW_S, arguments)
    return {
        "edge-ser, new frames of a 0.5 s hop": times["edge-ser-hop"],
        "librosa, whole window of 2.56 s": times["librosa"],
        "ratio": times["librosa"] / times["edge-ser-hop"],
    }


def goals_missed(report: dict[str, Any]) -> list[str]:
    """What the figures were to reach and did not, in words."""
    numpy_2 = report["machine"]["packages"]["numpy"] >= "2"
    faster = 2.5 if numpy_2 else 2.0
    missed = []
    for clip in report["clips"]:
        ms = clip["ms"]
        for peer in CONTENDERS[2:]:
            ratio = ms[peer] / ms["edge-ser"]
            if ratio < faster:
                missed.append(f"{clip['seconds']:g} s: {ratio:.2f} times {peer}")
        if ms["edge-ser"] > 1.8 * ms["floor"]:
            ratio = ms["edge-ser"] / ms["floor"]
            missed.append(f"{clip['seconds']:g} s: {ratio:.2f} times the floor")
    if report["streaming"]["ratio"] < 10:
        missed.append(f"streaming: {report['streaming']['ratio']:.1f} times librosa")
    return missed


def markdown(report: dict[str, Any]) -> str:
    """A row a length of audio, and the cost of a decision."""
    lines = [
        machine.headline(report["machine"]),
        "",
        f"Milliseconds of processor time a call, median; {SPEC.n_fft}-point FFT, "
        f"{SPEC.hop_ms:g} ms hop, {SPEC.n_mels} bands, {SPEC.n_mfcc} MFCC. In "
        "brackets: times the floor.",
        "",
        "| audio | " + " | ".join(CONTENDERS) + " |",
        "| --- " * (len(CONTENDERS) + 1) + "|",
    ]
    for clip in report["clips"]:
        ms = clip["ms"]
        cells = [f"{ms[n]:.3f} ({ms[n] / ms['floor']:.2f})" for n in CONTENDERS]
        lines.append(f"| {clip['seconds']:g} s | " + " | ".join(cells) + " |")
    lines += ["", "| streaming | ms a decision |", "| --- | --- |"]
    for name, value in report["streaming"].items():
        if name != "ratio":
            lines.append(f"| {name} | {value:.3f} |")
    lines += ["", *(f"- missed: {line}" for line in report["missed"])]
    return "\n".join(lines).rstrip()
