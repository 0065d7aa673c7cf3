"""The ledger: a line for each time that test folds were scored, and figures seen."""

from __future__ import annotations

import csv
import datetime
import pathlib
import subprocess
from collections.abc import Sequence
from typing import Any

COLUMNS = (
    "date",
    "commit",
    "config",
    "protocol",
    "folds",
    "seeds",
    "variant",
    "ua",
    "note",
)


def commit() -> str:
    """What git calls this code, ``-dirty`` where it was changed; or ``unknown``."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            cwd=pathlib.Path(__file__).parent,
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:  # no git
        return "unknown"
    return done.stdout.strip() or "unknown"


def append(
    ledger: pathlib.Path,
    config: str,
    protocol: str,
    folds: Sequence[int],
    seeds: Sequence[int],
    *scored: dict[str, Any],
    note: str = "",
) -> None:
    """One line for each time that test folds were scored.

    Args:
        config: name and digest of what was scored.
        scored: the rows of `report.figures_table` that count.
        note: what else is to be known.
    """
    new = not ledger.exists()
    with ledger.open("a", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if new:
            writer.writerow(COLUMNS)
        now = datetime.datetime.now(datetime.UTC)
        writer.writerow(
            [
                now.strftime("%Y-%m-%d %H:%M:%S"),
                commit(),
                config,
                protocol,
                " ".join(map(str, folds)),
                " ".join(map(str, seeds)),
                " ".join(row["variant"] for row in scored),
                " ".join(f"{row['ua']:.4f}" for row in scored),
                note,
            ]
        )
