"""Noise and room recordings that may take part in training."""

from __future__ import annotations

import csv
import pathlib

from training.errors import CorpusError

_SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")


def training_recordings(folder: str, data: pathlib.Path) -> list[pathlib.Path]:
    """The recordings of a folder that may teach, sorted.

    A ``split.csv`` in it (columns path and use) lets only those teach whose use is
    ``train``; the others are for tests. Without one all may.

    Args:
        folder: below the data folder, or any path.

    Raises:
        CorpusError: no such folder, none to train with, or a split of other columns.
    """
    places = [data / folder, pathlib.Path(folder)]
    found = next((place for place in places if place.is_dir()), None)
    if found is None:
        raise CorpusError(
            f"no folder of recordings {folder!r}; valid: one below {data}, or a path"
        )
    files = sorted(p for p in found.rglob("*") if p.suffix.lower() in _SUFFIXES)
    split = found / "split.csv"
    if split.exists():
        with split.open(newline="") as opened:
            rows = list(csv.DictReader(opened))
        if not rows or not {"path", "use"} <= set(rows[0]):
            raise CorpusError(f"{split}: valid columns are path and use")
        uses: dict[str, set[str]] = {}
        for row in rows:
            uses.setdefault(pathlib.PurePath(row["path"]).name, set()).add(row["use"])
        # A name that stands for a test recording, too, is none to teach.
        files = [file for file in files if uses.get(file.name) == {"train"}]
    if not files:
        raise CorpusError(f"{found} holds no recording to train with")
    return files
