"""What every verb leaves: words on standard output, and its report as JSON."""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import shlex
import sys
from typing import Any


def add_argument(parser: argparse.ArgumentParser) -> None:
    """``--json FILE``."""
    parser.add_argument(
        "--json", type=pathlib.Path, metavar="FILE", help="the report as JSON, too"
    )


def command(data: pathlib.Path | None = None) -> str:
    """The command line, to be typed again, without ``--json``.

    DIR stands for the corpora's folder; other absolute paths are told from here.
    """
    words = []
    rest = iter(sys.argv[1:])
    for word in rest:
        if word == "--json":
            next(rest, None)
        elif data is not None and word == str(data):
            words.append("DIR")
        else:
            words.append(os.path.relpath(word) if os.path.isabs(word) else word)
    return shlex.join(["python", "-m", "benchmarks", *words])


def tell(report: dict[str, Any], text: str, file: pathlib.Path | None) -> None:
    """Print the text, and write the report if a file is given."""
    print(text)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(report, indent=1) + "\n")
