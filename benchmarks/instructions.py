"""Instructions that a decision takes, counted by callgrind, and whether they grew.

Load, clock and caches have no part in the count, and valgrind shows the program the
same processor (with AVX2) on every x86-64 machine that has AVX2. Between runs it moves
by 0.2 %, between builds of one Python by about 1 %. With another numpy or interpreter
it is another figure, so only equal versions are compared.

With --check, more than 5 % above benchmarks/results/instructions.json is a failure.
Where more is right (a larger model, more features), renew that file and say why in the
commit:

    python -m benchmarks instructions --json benchmarks/results/instructions.json
"""

from __future__ import annotations

import argparse
import gc
import importlib.metadata
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

from benchmarks import machine, output, process
from edge_ser import stopwatch
from edge_ser.classifier import Classifier
from edge_ser.errors import ConfigError
from edge_ser.interpreter import installed_runtimes

REFERENCE = pathlib.Path(__file__).parent / "results" / "instructions.json"
LIMIT = 0.05
_WARM_UP, _REPEATS = 3, 5
_RUNTIMES = ("ai-edge-litert", "tflite-runtime")
# The counted stretches lie between calls of a function that nothing else here calls.
_MARK = ("getpgid", "__getpgid")
_ENVIRONMENT = {
    **machine.ONE_THREAD,
    "PYTHONHASHSEED": "0",
    # What these would choose on the processor that valgrind shows, said aloud.
    "OPENBLAS_CORETYPE": "Haswell",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own arguments."""
    parser.add_argument("--model", help="a bundle (the bundled default)")
    parser.add_argument(
        "--check", action="store_true", help="exit 1 if it takes over 5 %% more"
    )
    output.add_argument(parser)
    parser.add_argument("--one", help=argparse.SUPPRESS)


def run(arguments: argparse.Namespace) -> int:
    """Count, print, and with ``--check`` judge."""
    if arguments.one:
        _work(arguments.model, arguments.one)
        return 0
    if not shutil.which("valgrind"):
        raise SystemExit("counts with callgrind: apt install valgrind")
    reference = json.loads(REFERENCE.read_text()) if arguments.check else None
    report: dict[str, Any] = {
        "command": output.command(),
        "machine": machine.describe(),
        "valgrind": subprocess.check_output(["valgrind", "--version"], text=True)
        .strip()
        .removeprefix("valgrind-"),
        "model": Classifier.load(arguments.model).card.title,
        "counts": counts(arguments.model),
    }
    output.tell(report, markdown(report), arguments.json)
    if reference is None:
        return 0
    if not any(comparable(reference["counts"], report["counts"])):
        raise ConfigError(
            f"{REFERENCE.name} has no count by the versions that are here: measured "
            "above, judged nothing"
        )
    worse = list(dearer(reference["counts"], report["counts"]))
    for line in worse:
        print(line, file=sys.stderr)
    return 1 if worse else 0


def counts(model: str | None = None) -> list[dict[str, Any]]:
    """Instructions of each part of a decision, for every interpreter that is here.

    Returns:
        ``part``; ``package`` and ``version``, with which alone it may be compared;
        ``instructions`` of one call.
    """
    found: list[dict[str, Any]] = []
    parts = list(stopwatch.decision_work(Classifier.load(model)))
    for runtime in _RUNTIMES:
        if runtime not in installed_runtimes():
            continue
        options = ["--one", runtime, *(["--model", model] if model else [])]
        command = process.command("instructions", *options)
        sections = callgrind(command, marks=_MARK)
        # Before each part's first mark comes what prepares it, before its second the
        # part itself; what is left is the end.
        for part, instructions in zip(parts, sections[1:-1:2], strict=True):
            package = runtime if part in ("inference", "decision") else "numpy"
            row = {
                "part": part,
                "package": package,
                "version": importlib.metadata.version(package),
            }
            if all(each["part"] != part or package != "numpy" for each in found):
                found.append(row | {"instructions": instructions / _REPEATS})
    return found


def callgrind(
    command: list[str], *, marks: tuple[str, ...] = (), stdin: bytes = b""
) -> list[int]:
    """Instructions of a program, in stretches between calls of functions.

    Args:
        marks: C functions (as their symbols name them) that begin a new stretch.
        stdin: what the program reads.

    Raises:
        SystemExit: the program failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "count"
        valgrind = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}"]
        valgrind += [f"--dump-before={mark}" for mark in marks]
        done = subprocess.run(
            [*valgrind, *command],
            input=stdin,
            capture_output=True,
            check=False,
            env=os.environ | _ENVIRONMENT,
        )
        if done.returncode:
            raise SystemExit(done.stderr.decode(errors="replace").strip()[-400:])
        # Numbered from 1; the last stretch has no number.
        numbered = sorted(
            pathlib.Path(folder).glob("count.*"), key=lambda path: int(path.suffix[1:])
        )
        return [_total(path) for path in (*numbered, out)]


def _total(path: pathlib.Path) -> int:
    found = re.search(r"^totals: (\d+)", path.read_text(), re.MULTILINE)
    if found is None:
        raise SystemExit(f"valgrind wrote no total: {path.name}")
    return int(found[1])


def _work(model: str | None, runtime: str) -> None:
    """What callgrind counts: every part some times, between two marks."""
    classifier = Classifier.load(model, runtime=runtime)
    gc.disable()
    for call in stopwatch.decision_work(classifier).values():
        for _ in range(_WARM_UP):
            call()
        os.getpgid(0)
        for _ in range(_REPEATS):
            call()
        os.getpgid(0)


def comparable(
    old: list[dict[str, Any]], new: list[dict[str, Any]]
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Pairs of counts of the same part by the same version of the same package."""
    keys = ("part", "package", "version")
    before = {tuple(row[key] for key in keys): row for row in old}
    for row in new:
        key = tuple(row[key] for key in keys)
        if key in before:
            yield before[key], row


def dearer(old: list[dict[str, Any]], new: list[dict[str, Any]]) -> Iterator[str]:
    """The parts that take over 5 % more instructions than before, in words."""
    for before, row in comparable(old, new):
        ratio = row["instructions"] / before["instructions"]
        if ratio > 1 + LIMIT:
            yield (
                f"{row['part']} ({row['package']} {row['version']}) takes "
                f"{row['instructions'] / 1e6:.2f} M instructions, "
                f"{100 * (ratio - 1):.1f} % more than {REFERENCE.name} says; if that "
                "is right, renew it: python -m benchmarks instructions --json "
                f"benchmarks/results/{REFERENCE.name}"
            )


def markdown(report: dict[str, Any]) -> str:
    """A row a part."""
    lines = [
        machine.headline(report["machine"]),
        "",
        f"{report['model']}, counted by callgrind {report['valgrind']}",
        "",
        "| part of a decision | with | million instructions |",
        "| --- | --- | --- |",
    ]
    lines += [
        f"| {row['part']} | {row['package']} {row['version']} "
        f"| {row['instructions'] / 1e6:.3f} |"
        for row in report["counts"]
    ]
    return "\n".join(lines)
