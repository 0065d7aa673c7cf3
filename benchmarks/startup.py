"""Import, load and first decision, beside importing numpy and the interpreter alone.

Both run in fresh processes, in turn. Also the size of the wheel, and how much memory
the process holds after the first decision.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

from benchmarks import amounts, machine, output
from edge_ser.interpreter import RUNTIMES, choose_runtime

_GOAL_RATIO = 1.3
_GOAL_WHEEL_BYTES = 1_000_000
_BARE = "import numpy, {module}"
_OURS = """
import numpy as np
from edge_ser import Classifier
classifier = Classifier.load({model!r})
classifier.classify(np.zeros(round(classifier.card.window_s * 16000), 'f4'), 16000)
"""
_RSS = """
import re
print(re.search(r'VmRSS:\\s+(\\d+)', open('/proc/self/status').read())[1])
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's options."""
    parser.add_argument("--model", help="a bundle (default: the built-in one)")
    parser.add_argument(
        "--rounds", type=amounts.at_least_one, default=15, help="processes each (15)"
    )
    parser.add_argument("--wheel", action="store_true", help="also build the wheel")
    output.add_argument(parser)
    parser.add_argument("--check", action="store_true", help="exit 1 on a missed goal")


def run(arguments: argparse.Namespace) -> int:
    """Measure, print, and with ``--check`` judge."""
    runtime, _ = choose_runtime()
    bare = _BARE.format(module=RUNTIMES[runtime][0])
    ours = _OURS.format(model=arguments.model)
    report: dict[str, Any] = {
        "command": output.command(),
        "machine": machine.describe(),
        "runtime": runtime,
    }
    with tempfile.TemporaryDirectory() as cache:
        # Byte code is there, as pip leaves it, whatever this shell forbids.
        report |= _measure(bare, ours, arguments.rounds, cache)
    missed = report["ratio"] > _GOAL_RATIO
    if arguments.wheel:
        report["wheel_bytes"] = wheel_bytes()
        missed |= report["wheel_bytes"] > _GOAL_WHEEL_BYTES
    output.tell(report, markdown(report), arguments.json)
    return 1 if arguments.check and missed else 0


def _measure(bare: str, ours: str, rounds: int, cache: str) -> dict[str, float]:
    wall_ms: dict[str, list[float]] = {bare: [], ours: []}
    cpu_ms: dict[str, list[float]] = {bare: [], ours: []}
    for code in wall_ms:  # files into the page cache, byte code into its own
        _process(code, cache)
    for _ in range(rounds):
        for code in wall_ms:
            start_s, start_cpu_s = time.perf_counter(), _children_cpu_s()
            _process(code, cache)
            wall_ms[code].append((time.perf_counter() - start_s) * 1000)
            cpu_ms[code].append((_children_cpu_s() - start_cpu_s) * 1000)
    median = statistics.median
    return {
        "bare_ms": median(wall_ms[bare]),
        "first_decision_ms": median(wall_ms[ours]),
        "bare_cpu_ms": median(cpu_ms[bare]),
        "first_decision_cpu_ms": median(cpu_ms[ours]),
        # Of processor time: the same as of wall time where nothing else runs.
        "ratio": median(cpu_ms[ours]) / median(cpu_ms[bare]),
        "bare_rss_mib": int(_process(bare + _RSS, cache)) / 1024,
        "first_decision_rss_mib": int(_process(ours + _RSS, cache)) / 1024,
    }


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def wheel_bytes() -> int:
    """Size of the wheel that this checkout makes."""
    root = pathlib.Path(__file__).parents[1]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
        subprocess.run([*command, "--wheel-dir", folder, str(root)], check=True)
        return next(pathlib.Path(folder).glob("*.whl")).stat().st_size


def _process(code: str, cache: str) -> str:
    environment = {**os.environ, **machine.ONE_THREAD, "PYTHONPYCACHEPREFIX": cache}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.stderr.strip().splitlines()[-1])
    return done.stdout


def markdown(report: dict[str, Any]) -> str:
    """Both starts, and what lies between."""
    bare, ours = "bare", "first_decision"
    lines = [
        machine.headline(report["machine"]),
        "",
        "| fresh process | time | processor time | RSS |",
        "| --- | --- | --- | --- |",
    ]
    for name, key in (
        (f"numpy and {report['runtime']} imported", bare),
        ("edge_ser imported, model loaded, first decision", ours),
    ):
        lines.append(
            f"| {name} | {report[f'{key}_ms']:.0f} ms | {report[f'{key}_cpu_ms']:.0f} "
            f"ms | {report[f'{key}_rss_mib']:.0f} MiB |"
        )
    lines += [
        "",
        f"Ratio of processor time: {report['ratio']:.2f} (goal: at most {_GOAL_RATIO})",
    ]
    if "wheel_bytes" in report:
        size = report["wheel_bytes"] / 1000
        lines.append(f"\nWheel: {size:.0f} kB (goal: at most 1000 kB)")
    return "\n".join(lines)
