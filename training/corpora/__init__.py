"""Emotional-speech corpora, each read from its published file names.

To add a corpus, write a module with NAME, LICENCE, COMMERCIAL_USE, PATTERN (a regular
expression for the whole file stem), EMOTIONS and ``clip(path, match)``, and list it in
`ADAPTERS`.
"""

from __future__ import annotations

import pathlib
from collections.abc import Iterable

from training.corpora import emodb, emovo, nemo, ravdess
from training.corpora.clip import Clip
from training.errors import CorpusError

__all__ = ["ADAPTERS", "Clip", "find_clips"]

ADAPTERS = {module.NAME: module for module in (ravdess, emodb, emovo, nemo)}
_SUFFIXES = (".wav", ".flac")


def find_clips(root: pathlib.Path, corpora: Iterable[str]) -> list[Clip]:
    """Every clip of the named corpora below a folder, sorted by corpus and name.

    Args:
        root: searched with all its subfolders; .wav and .flac files whose stem fits a
            corpus's naming scheme are taken, others are left alone.
        corpora: names out of `ADAPTERS`.

    Raises:
        CorpusError: no such folder, an unknown corpus, one without a single clip, a
            label that its table does not hold, or one clip name in two places.
    """
    if not root.is_dir():
        raise CorpusError(f"no data folder {root}; give the corpora's folder as --data")
    names = list(corpora)
    for name in names:
        if name not in ADAPTERS:
            raise CorpusError(
                f"unknown corpus {name!r}; valid: {', '.join(sorted(ADAPTERS))}"
            )
    found: dict[tuple[str, str], Clip] = {}
    for path in sorted(root.rglob("*")):
        if path.suffix.lower() not in _SUFFIXES:
            continue
        for name in names:
            match = ADAPTERS[name].PATTERN.fullmatch(path.stem)
            if match is None:
                continue
            try:
                clip = ADAPTERS[name].clip(path, match)
            except KeyError as error:
                raise CorpusError(
                    f"{path}: {name} has no label {error}; valid: "
                    f"{', '.join(ADAPTERS[name].EMOTIONS)}"
                ) from error
            other = found.setdefault((name, clip.name), clip)
            if other is not clip:
                raise CorpusError(
                    f"{name} clip {clip.name} lies in two places: "
                    f"{other.path} and {path}; remove one"
                )
    for name in names:
        if not any(corpus == name for corpus, _ in found):
            raise CorpusError(f"no clip of {name} below {root}")
    return [found[key] for key in sorted(found)]
