"""One decision by each interpreter, with one and several threads, and pinned to a core.

Every row is `edge-ser bench` in a process of its own. ``features`` are those of a whole
window at once, ``streaming features`` what is new since the last decision, which is
what `listen` pays.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

from benchmarks import amounts, machine, output, process
from edge_ser.interpreter import installed_runtimes

THREADS = (1, 2, 4)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's options."""
    parser.add_argument("--model", help="a bundle (the bundled default)")
    parser.add_argument(
        "--seconds", type=amounts.positive, default=1, help="for each timing (1)"
    )
    output.add_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Measure and print."""
    cores = sorted(os.sched_getaffinity(0))
    ways = [["--threads", str(n)] for n in THREADS if n <= len(cores)]
    ways.append(["--core", str(cores[-1])])
    report: dict[str, Any] = {
        "command": output.command(),
        "machine": machine.describe(),
        "runs": [
            bench(arguments.model, arguments.seconds, "--interpreter", runtime, *way)
            | {"pinned": "--core" in way}
            for runtime in installed_runtimes()
            if runtime != "tensorflow"
            for way in ways
        ],
    }
    output.tell(report, markdown(report), arguments.json)
    return 0


def bench(model: str | os.PathLike[str] | None, seconds: float, *options: str) -> Any:
    """The report of `edge-ser bench`."""
    command = [sys.executable, "-m", "edge_ser", "bench", "--json", *options]
    command += ["--seconds", str(seconds), *(["--model", str(model)] if model else [])]
    return process.answer(command)


def rows(report: dict[str, Any]) -> list[str]:
    """A row of the README's table for each interpreter: one thread, processor time."""
    lines = []
    for each in report["runs"]:
        if each["threads"] > 1 or each["pinned"]:
            continue
        costs = [
            f"{each['timings'][part]['cpu_ms']:.2f} ms"
            for part in ("features", "streaming features", "inference")
        ]
        second = each["timings"]["decision"]["cpu_ms"] / each["hop_s"]
        costs.append(f"{second:.2f} ms")
        lines.append(f"| {_name(each)} | " + " | ".join(costs) + " |")
    return lines


def _name(each: dict[str, Any]) -> str:
    return f"{each['interpreter']} {each['interpreter_version']}"


def _way(each: dict[str, Any]) -> str:
    return f"{each['threads']}{', pinned' * each['pinned']}"


def markdown(report: dict[str, Any]) -> str:
    """A row a way to run it, and what disturbed it."""
    first = report["runs"][0]
    lines = [
        machine.headline(report["machine"]),
        "",
        f"**{first['model']}**, {first['quantization']}: a window of "
        f"{first['window_s']:.2f} s, a decision every {first['hop_s']:g} s. "
        "Milliseconds of wall time (p50) / of processor time; the decision's p50 with "
        "its 95 % interval.",
        "",
        "| interpreter | threads | features | streaming features | inference "
        "| decision | p95 / p99 | a second of audio, cpu | RSS, peak |",
        "| --- " * 9 + "|",
    ]
    for each in report["runs"]:
        timings = each["timings"]
        cells = [
            f"{timings[part]['p50_ms']:.2f} / {timings[part]['cpu_ms']:.2f}"
            for part in ("features", "streaming features", "inference")
        ]
        decision = timings["decision"]
        lines.append(
            f"| {_name(each)} | {_way(each)} | "
            + " | ".join(cells)
            + f" | {decision['p50_ms']:.2f} [{decision['low_ms']:.2f}, "
            f"{decision['high_ms']:.2f}] | {decision['p95_ms']:.1f} / "
            f"{decision['p99_ms']:.1f} | {decision['cpu_ms'] / each['hop_s']:.2f} "
            f"| {each['rss_mib']:.0f}, {each['peak_rss_mib']:.0f} MiB |"
        )
    warnings = {
        f"- {_name(each)}, threads: {_way(each)}: {warning}"
        for each in report["runs"]
        for warning in each["warnings"]
    }
    return "\n".join([*lines, "", *sorted(warnings)]).rstrip()
