"""Emotional-speech corpora, each read from its published file names.

To add a corpus, write a module with NAME, LICENCE, COMMERCIAL_USE, PATTERN (a regular
expression for the whole file stem, or for folder/stem), EMOTIONS and ``clip(path,
match)``, and list it in `ADAPTERS`.
"""

from __future__ import annotations

import pathlib
from collections.abc import Iterable, Mapping

from training.corpora import cremad, emodb, emovo, nemo, own, ravdess, savee, tess
from training.corpora.clip import Clip
from training.errors import CorpusError

__all__ = ["ADAPTERS", "Clip", "corpus_name", "find_clips", "terms"]

ADAPTERS = {
    module.NAME: module for module in (ravdess, emodb, emovo, nemo, tess, savee, cremad)
}
_SUFFIXES = (".wav", ".flac")


def corpus_name(corpus: str) -> str:
    """What the clips of a config's corpus call it."""
    return own.name_of(corpus) if own.is_own(corpus) else corpus


def terms(corpus: str) -> tuple[str, bool]:
    """The licence of a config's corpus, and whether it allows commercial use."""
    if own.is_own(corpus):
        return own.LICENCE, True
    return ADAPTERS[corpus].LICENCE, ADAPTERS[corpus].COMMERCIAL_USE


def find_clips(
    root: pathlib.Path,
    corpora: Iterable[str],
    label_map: Mapping[str, str] | None = None,
) -> list[Clip]:
    """Every clip of the named corpora below a folder, sorted by corpus and name.

    Args:
        root: searched with all its subfolders; .wav and .flac files whose stem fits a
            corpus's naming scheme are taken, others are left alone.
        corpora: names out of `ADAPTERS`, or recordings of one's own, see `own`.
        label_map: words for the labels of one's own recordings.

    Raises:
        CorpusError: no such folder, an unknown corpus, one without a single clip, a
            label that its table does not hold, or one clip name in two places.
    """
    if not root.is_dir():
        raise CorpusError(f"no data folder {root}; give the corpora's folder as --data")
    names = list(corpora)
    for name in names:
        if name not in ADAPTERS and not own.is_own(name):
            raise CorpusError(
                f"unknown corpus {name!r}; valid: {', '.join(sorted(ADAPTERS))}, "
                "folders:PATH, table:FILE.csv, audformat:PATH"
            )
    called = [corpus_name(name) for name in names]
    if len(set(called)) < len(called):
        raise CorpusError(
            f"two corpora of one name: {', '.join(called)}; rename a folder, or leave "
            "one out"
        )
    own_clips = [
        clip
        for n in names
        if own.is_own(n)
        for clip in own.find(root, n, label_map or {})
    ]
    names = [name for name in names if name in ADAPTERS]
    found: dict[tuple[str, str], Clip] = {}
    for path in sorted(root.rglob("*")) if names else ():
        if path.suffix.lower() not in _SUFFIXES:
            continue
        for name in names:
            pattern = ADAPTERS[name].PATTERN
            match = pattern.fullmatch(path.stem) or pattern.fullmatch(
                f"{path.parent.name}/{path.stem}"
            )
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
    return [*(found[key] for key in sorted(found)), *own_clips]
