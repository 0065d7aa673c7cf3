"""Verbs in processes of their own: no measurement inherits another's memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from benchmarks import machine


def command(verb: str, *options: str) -> list[str]:
    """The command line of a verb, by this Python."""
    return [sys.executable, "-m", "benchmarks", verb, *options]


def answer(arguments: list[str]) -> Any:
    """The JSON that a command prints; libraries get one thread each.

    Raises:
        SystemExit: it failed; with the last line of what it complained.
    """
    done = subprocess.run(
        arguments,
        env={**os.environ, **machine.ONE_THREAD},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(
            (done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1]
        )
    return json.loads(done.stdout)
