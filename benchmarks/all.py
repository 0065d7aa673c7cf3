"""Every measurement, one after the other, and the report they make together.

Each verb runs in a process of its own and leaves its JSON in the folder; what is there
already is not measured again, so a run that was cut goes on, and --again measures parts
anew. The page is made anew each time: see `report`.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import subprocess
import sys
import time

from benchmarks import machine, output, process, report, strangers
from edge_ser import bundle
from edge_ser.errors import ConfigError
from training import report as training_report
from training.protocol import LEAVE_ONE_CORPUS_OUT

UNHEARD_CORPORA = training_report.RESULTS / f"standard-{LEAVE_ONE_CORPUS_OUT}"
"""Bundles that know nobody of a whole corpus; what ships has heard some of each."""
_VERBS = {"corpora": "robustness"}
"""Of the parts that are not called as their verb is."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own arguments."""
    parser.add_argument("--out", type=pathlib.Path, required=True, metavar="DIR")
    parser.add_argument(
        "--data",
        type=pathlib.Path,
        default=os.environ.get("EDGE_SER_DATA"),
        metavar="DIR",
        help="the corpora (EDGE_SER_DATA); without them accuracy is left out",
    )
    parser.add_argument(
        "--bundles",
        nargs="+",
        type=pathlib.Path,
        default=[training_report.RESULTS / "standard"],
        metavar="BUNDLE",
        help="fold bundles (fold-K in name or folder) of every variant to compare, or "
        "folders that hold them (those of training/results/standard)",
    )
    amount = parser.add_mutually_exclusive_group()
    amount.add_argument(
        "--quick", action="store_true", help="a minute or two: a try of every part"
    )
    amount.add_argument(
        "--full",
        action="store_true",
        help="an hour: every clip under every change, four hours of noise",
    )
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="PART", help="these parts alone"
    )
    parser.add_argument(
        "--skip", nargs="+", default=[], metavar="PART", help="all but these parts"
    )
    parser.add_argument(
        "--again",
        nargs="+",
        default=[],
        metavar="PART",
        help="measure these though they are there",
    )


def plan(arguments: argparse.Namespace) -> dict[str, list[str]]:
    """The options of each part, without its ``--json``; the default takes ten minutes.

    Raises:
        EdgeSerError: a bundle that cannot be read, or a folder without any.
    """
    data = ["--data", str(arguments.data)]
    bundles = [str(path) for path in arguments.bundles]
    shipped = [str(path) for path in _shipped(arguments.bundles)]

    def amount(quick: str, usual: str, full: str = "") -> list[str]:
        chosen = quick if arguments.quick else full if arguments.full else usual
        return chosen.split()

    return {
        "quantization": [
            *bundles,
            *data,
            *amount("--clips 24 --seconds 0.2", "--seconds 1"),
        ],
        "robustness": [*bundles, *data, *amount("--clips 8", "--clips 20")],
        "places": [*shipped, *data, *amount("--clips 4", "--clips 60")],
        "corpora": [
            *(str(UNHEARD_CORPORA), "--protocol", LEAVE_ONE_CORPUS_OUT),
            *data,
            *amount("--clips 8", "--clips 60"),
        ],
        "peers": amount(
            "--rounds 1 --seconds 0.1 --only light-sernet",
            "--rounds 3 --seconds 0.2",
            "--rounds 9 --seconds 0.5",
        ),
        "window": amount("--seconds 0.1", "--seconds 0.5", "--seconds 2"),
        "scaling": amount(
            "--seconds 5 --longest 60 --windows 1", "--seconds 30", "--seconds 60"
        ),
        "listening": [
            *shipped,
            *data,
            *amount("--hours 0.1 --clips 4", "--hours 0.5 --clips 24"),
        ],
        "features": amount(
            "--rounds 1 --budget 0.1", "--rounds 1 --budget 0.5", "--rounds 5"
        ),
        "startup": amount("--rounds 3", "--rounds 9"),
        "listener-cost": amount("--seconds 10", "--seconds 20", "--seconds 60"),
        "instructions": [],
        "estimate": [],
    }


def _shipped(paths: list[pathlib.Path]) -> list[pathlib.Path]:
    """Those of the variant that ships; of the last, if it is not among them."""
    variants: dict[str, list[pathlib.Path]] = {}
    for path in strangers.expanded(paths):
        variants.setdefault(bundle.read(path).card.quantization, []).append(path)
    return variants.get(bundle.read().card.quantization, variants[max(variants)])


def run(arguments: argparse.Namespace) -> int:
    """Measure what is missing, then write the report; 1 if a part failed."""
    parts = plan(arguments)
    named = {*arguments.only, *arguments.skip, *arguments.again}
    unknown = sorted(named - set(parts))
    if unknown:
        raise ConfigError(f"no part {unknown[0]!r}; valid: {', '.join(parts)}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    failed = []
    if arguments.data is None:
        parts = {name: words for name, words in parts.items() if "--data" not in words}
        print("without --data DIR or EDGE_SER_DATA: costs alone, no accuracy")
    chosen = {
        name: options
        for name, options in parts.items()
        if (not arguments.only or name in arguments.only) and name not in arguments.skip
    }
    kept = {name for name in chosen if (arguments.out / f"{name}.json").exists()}
    kept -= set(arguments.again)
    for name in sorted(kept):
        command = output.command(arguments.data, _words(name, chosen[name]))
        measured = report.read(arguments.out / f"{name}.json").get("command")
        other = "" if measured == command else f", measured by: {measured}"
        print(f"{name}: kept{other}; --again {name} measures it anew")
    for name, options in chosen.items():
        if name in kept:
            continue
        file = arguments.out / f"{name}.json"
        print(f"{name} ...", flush=True)
        start_s = time.monotonic()
        message = _measure(name, options, file)
        if message:
            failed.append(name)
            print(f"{name} failed: {message}", file=sys.stderr)
            continue
        print(f"{name}: {time.monotonic() - start_s:.0f} s", flush=True)
    print(report.build(arguments.out))
    return 1 if failed else 0


def _words(name: str, options: list[str]) -> list[str]:
    return [_VERBS.get(name, name), *options]


def _measure(name: str, options: list[str], file: pathlib.Path) -> str:
    """Run a part; what it complained of, or nothing."""
    partial = file.with_name(f".{name}.partial")
    start_s = time.monotonic()
    try:
        done = subprocess.run(
            [*process.command(*_words(name, options)), "--json", str(partial)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        if done.returncode:
            return (done.stderr.strip().splitlines() or ["no message"])[-1]
        found = json.loads(partial.read_text())
        # Heat and other programs show in what changed since the part began.
        spent_s = time.monotonic() - start_s
        found |= {"seconds": spent_s, "machine_after": machine.state()}
        partial.write_text(json.dumps(found, indent=1) + "\n")
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)
    return ""
