"""What a decision costs on this machine, and how sure that is.

Examples:
  edge-ser bench
  edge-ser bench --threads 4 --interpreter tflite-runtime
  edge-ser bench --core 3                 pinned to one core
  edge-ser bench --json > pi-zero-2.json  to compare, or to send
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import subprocess
import sys
import time
from typing import Any

import numpy as np

from edge_ser import __version__, machine, stopwatch, store
from edge_ser.cli import engine
from edge_ser.errors import ConfigError
from edge_ser.interpreter import installed_runtimes

_STARTS = 5
_BUSY_RATIO = 2.0
_SLOWER_CLOCK = 0.9
_FIRST_DECISION = """
import sys, numpy, edge_ser
model, runtime, threads, delegate, portable = sys.argv[1:]
classifier = edge_ser.Classifier.load(
    model or None, runtime=runtime or None, threads=int(threads),
    delegate=delegate or None, portable=bool(portable))
silence = numpy.zeros(classifier.card.features.model_samples, "f4")
classifier.classify(silence, classifier.sample_rate_hz)
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own arguments."""
    parser.add_argument(
        "--seconds", type=float, default=2.0, help="to spend on each figure (2)"
    )
    parser.add_argument(
        "--core", type=int, metavar="N", help="run on this processor core alone"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object")
    engine.add_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Measure and print."""
    if not 0.01 <= arguments.seconds <= 600:
        raise ConfigError(f"--seconds is {arguments.seconds:g}; valid: 0.01 to 600")
    if arguments.core is not None:
        _pin(arguments.core)
    classifier = engine.load(arguments)
    before = machine.describe()
    timings = stopwatch.measure_decision(classifier, arguments.seconds)
    after = machine.describe()
    card = classifier.card
    runtime = classifier.interpreter.runtime
    report: dict[str, Any] = {
        "model": card.title,
        "quantization": card.quantization,
        "sha256": classifier.bundle.sha256,
        "interpreter": runtime,
        "interpreter_version": installed_runtimes().get(runtime),
        "versions": {
            "edge-ser": __version__,
            "python": platform.python_version(),
            "numpy": np.__version__,
        },
        "core": arguments.core,
        "threads": arguments.threads or 1,
        "delegate": arguments.delegate,
        "portable": bool(arguments.portable),
        "window_s": card.window_s,
        "hop_s": card.hop_s,
        "timings": {name: dataclasses.asdict(t) for name, t in timings.items()},
        "ms_a_second_of_audio": timings["decision"].p50_ms / card.hop_s,
        "rss_mib": machine.memory_mib("VmRSS"),
        "peak_rss_mib": machine.memory_mib("VmHWM"),
        "first_decision": dataclasses.asdict(_first_decision(arguments)),
        "machine": dataclasses.asdict(before),
        "machine_after": dataclasses.asdict(after),
        "warnings": _warnings(before, after, timings),
    }
    print(json.dumps(report, indent=1) if arguments.json else _text(report, before))
    return 0


def _pin(core: int) -> None:
    try:
        os.sched_setaffinity(0, {core})
    except (OSError, OverflowError, ValueError) as error:
        cores = sorted(os.sched_getaffinity(0))
        raise ConfigError(
            f"--core is {core}; valid here: {', '.join(map(str, cores))}"
        ) from error


def _first_decision(arguments: argparse.Namespace) -> stopwatch.Timing:
    """From the start of a process to its first answer, in fresh processes."""
    model = store.in_use(engine.named_model(arguments.model))
    command = [sys.executable, "-c", _FIRST_DECISION, model or ""]
    command += [arguments.interpreter or "", str(arguments.threads or 1)]
    command += [arguments.delegate or "", "yes" if arguments.portable else ""]
    times_s = []
    for _ in range(1 + _STARTS):
        start_s = time.perf_counter()
        subprocess.run(  # noqa: S603 - this Python, and what the user gave it
            command, check=True, stderr=subprocess.DEVNULL
        )
        times_s.append(time.perf_counter() - start_s)
    return stopwatch.summarise(times_s[1:])  # the first fills the page cache


def _warnings(
    before: machine.Machine,
    after: machine.Machine,
    timings: dict[str, stopwatch.Timing],
) -> list[str]:
    found = []
    if after.slowed:
        found.append("the firmware holds the clock back: heat, or a weak power supply")
    if (
        before.clock_mhz
        and after.clock_mhz
        and after.clock_mhz < _SLOWER_CLOCK * before.clock_mhz
    ):
        found.append(
            f"the clock fell from {before.clock_mhz:.0f} to {after.clock_mhz:.0f} MHz "
            "while measuring"
        )
    unsteady = [
        name for name, t in timings.items() if t.p95_ms > _BUSY_RATIO * t.p50_ms
    ]
    if unsteady:
        found.append(
            f"p95 of {', '.join(unsteady)} is over twice p50: other programs are at "
            "work"
        )
    return found


def _text(report: dict[str, Any], before: machine.Machine) -> str:
    named = [before.board or before.processor or "unknown processor"]
    cores = before.cores
    named.append(f"{before.architecture}, {cores} core{'s'[: cores > 1]}")
    if before.governor:
        named.append(f"governor {before.governor}")
    if before.clock_mhz:
        named.append(f"{before.clock_mhz:.0f} MHz")
    if before.celsius is not None:
        named.append(f"{before.celsius:.0f} °C")
    threads = report["threads"]
    lines = [
        f"{report['model']}, {report['quantization']}; {report['interpreter']} "
        f"{report['interpreter_version']}, {threads} thread{'s'[: threads > 1]}",
        ", ".join(named) + f", load {before.load:.1f}",
        "",
        f"{'ms':22}{'p50':>9}{'p95':>9}{'p99':>9}{'cpu':>9}   95 % interval of p50",
    ]
    for name, t in report["timings"].items():
        lines.append(
            f"{name:22}{t['p50_ms']:9.3f}{t['p95_ms']:9.3f}{t['p99_ms']:9.3f}"
            f"{t['cpu_ms']:9.3f}   {t['low_ms']:.3f} to {t['high_ms']:.3f} "
            f"({t['count']} calls)"
        )
    cost_ms = report["ms_a_second_of_audio"]
    lines += [
        "",
        f"a decision every {report['hop_s']:g} s: {cost_ms:.2f} ms a second of audio, "
        f"{cost_ms / 10:.2f} % of a core",
        f"from start to first decision: {report['first_decision']['p50_ms']:.0f} ms",
    ]
    if report["rss_mib"] is not None:
        lines.append(
            f"memory: {report['rss_mib']:.0f} MiB (peak {report['peak_rss_mib']:.0f})"
        )
    lines += [f"warning: {warning}" for warning in report["warnings"]]
    return "\n".join(lines)
