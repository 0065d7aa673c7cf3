"""Noise and room recordings that may take part in training."""

from __future__ import annotations

import csv
import pathlib

from training.errors import CorpusError

_SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")
_NOT_TOLD = "licence not told"


def training_recordings(folder: str, data: pathlib.Path) -> list[pathlib.Path]:
    """The recordings of a folder that may teach, sorted.

    A ``split.csv`` in it (columns path and use) lets only those teach whose use is
    ``train``; the others are for tests. Without one all may.

    Args:
        folder: below the data folder, or any path.

    Raises:
        CorpusError: no such folder, none to train with, or a split of other columns.
    """
    found = _place(folder, data)
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


def _place(folder: str, data: pathlib.Path) -> pathlib.Path:
    places = [data / folder, pathlib.Path(folder)]
    found = next((place for place in places if place.is_dir()), None)
    if found is None:
        raise CorpusError(
            f"no folder of recordings {folder!r}; valid: one below {data}, or a path"
        )
    return found


def told_on_the_card(use: str, folder: str, data: pathlib.Path) -> dict[str, object]:
    """What a model's card says of the recordings of a folder that taught it.

    Their licences are those of a ``manifest.csv`` in it (columns path and licence),
    with the author where the licence asks for one to be named (column author).

    Args:
        use: what they are, ``noise`` or ``rooms``.

    Raises:
        CorpusError: see `training_recordings`.
    """
    files = training_recordings(folder, data)
    place = _place(folder, data)
    licences: dict[str, set[str]] = {}
    manifest = place / "manifest.csv"
    if manifest.exists():
        with manifest.open(newline="", encoding="utf-8") as opened:
            for row in csv.DictReader(opened):
                name = pathlib.PurePath(row.get("path") or "").name
                licences.setdefault(name, set()).add(_licence(row))
    # Two files of one name: the terms of both, rather than those of neither.
    found = sorted(set().union(*(licences.get(f.name, {_NOT_TOLD}) for f in files)))
    return {use: place.name, "recordings": len(files), "licence": "; ".join(found)}


def _licence(row: dict[str, str]) -> str:
    licence, author = row.get("licence"), row.get("author")
    if not licence:
        return _NOT_TOLD
    named = author and not licence.startswith("CC0")
    return f"{licence} ({author})" if named else licence
