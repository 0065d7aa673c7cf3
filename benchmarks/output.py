"""What every verb leaves: words on standard output, and its report as JSON."""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import shlex
import sys
from collections.abc import Iterator, Sequence
from typing import Any


def add_argument(parser: argparse.ArgumentParser) -> None:
    """``--json FILE``."""
    parser.add_argument(
        "--json", type=pathlib.Path, metavar="FILE", help="the report as JSON, too"
    )


def check(file: pathlib.Path | None) -> None:
    """Refuse a file that cannot be written, before anything is measured.

    Raises:
        OSError: says why not.
    """
    if file is None:
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    is_new = not file.exists()
    file.open("a").close()
    if is_new:
        file.unlink()


def command(
    data: pathlib.Path | None = None, typed: Sequence[str] | None = None
) -> str:
    """The command line, to be typed again, without ``--json``.

    Args:
        data: the corpora's folder, for which DIR stands; other absolute paths are told
            from here.
        typed: the words after ``python -m benchmarks`` (those of this process).
    """
    words = []
    rest = iter(_apart(sys.argv[1:] if typed is None else typed))
    for word in rest:
        if word == "--json":
            next(rest, None)
        elif data is not None and word == str(data):
            words.append("DIR")
        else:
            words.append(os.path.relpath(word) if os.path.isabs(word) else word)
    return shlex.join(["python", "-m", "benchmarks", *words])


def _apart(words: Sequence[str]) -> Iterator[str]:
    """``--option=value`` as two words, like all others."""
    for word in words:
        name, equals, value = word.partition("=")
        yield from (name, value) if equals and name.startswith("--") else (word,)


def interval(shares: Sequence[float], sign: str = "") -> str:
    """A share with its interval's ends, in percent; ``+`` for a difference."""
    value, low, high = (100 * x for x in shares)
    return f"{value:{sign}.1f} [{low:{sign}.1f}, {high:{sign}.1f}]"


def tell(report: dict[str, Any], text: str, file: pathlib.Path | None) -> None:
    """Print the text, and write the report if a file is given."""
    print(text)
    if file is not None:
        file.write_text(json.dumps(report, indent=1) + "\n")
