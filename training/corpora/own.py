"""Recordings of one's own: a folder a label, a table, or an audformat database.

In a config's `corpora` they are ``folders:PATH``, ``table:FILE.csv`` and
``audformat:PATH``, below the data folder (``folders`` alone is that folder itself).
"""

from __future__ import annotations

import contextlib
import csv
import os
import pathlib
import re
from collections.abc import Iterator, Mapping

from training.corpora.clip import UNKNOWN, Clip
from training.errors import CorpusError
from training.labels import VOCABULARY, mapped

LICENCE = "set by the owner of the recordings"
KINDS = ("folders", "table", "audformat")
SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")
_TABLE_COLUMNS = ("path", "label")
_COLUMNS = {"emotion", "speaker", "gender", "language"}
"""Of audformat tables; and what the scheme of their speakers may tell:"""
_OF_SPEAKERS = {"gender": "gender", "sex": "gender", "language": "language"}


def is_own(corpus: str) -> bool:
    """Whether a config's corpus is of these kinds."""
    return corpus.partition(":")[0] in KINDS


def name_of(corpus: str) -> str:
    """What its clips' corpus is called: the folder's or file's name."""
    stem = pathlib.PurePath(corpus.partition(":")[2]).stem
    return re.sub(r"[^a-z0-9]+", "-", stem.lower()).strip("-") or "own"


def find(root: pathlib.Path, corpus: str, labels: Mapping[str, str]) -> list[Clip]:
    """Every clip of such a corpus, sorted by name.

    Args:
        root: the data folder.
        labels: words for the labels, see `training.labels.mapped`.

    Raises:
        CorpusError: nothing there, not in the layout, a label without an entry, or two
            clips of one name.
    """
    kind, _, rest = corpus.partition(":")
    place = root / rest
    if not place.exists():
        raise CorpusError(f"{corpus}: {place} is not there")
    read = {"folders": _folders, "table": _table, "audformat": _audformat}[kind]
    found: dict[str, Clip] = {}
    name = name_of(corpus)
    for path, label, told in read(place):
        try:
            emotion = mapped(label, labels)
        except KeyError as error:
            raise CorpusError(
                f"{path}: no word for the label {label!r}; valid: "
                f"{', '.join(VOCABULARY)}; or map it: label_map = "
                f'{{ "{label}" = "..." }}, on the command line --label {label}=...'
            ) from error
        base = place if place.is_dir() else place.parent
        # A table may name files anywhere.
        below = os.path.relpath(path, base)
        known_as = pathlib.PurePath(below).with_suffix("").as_posix()
        speaker = told.get("speaker", "").strip()
        clip = Clip(
            path=path,
            corpus=name,
            speaker=speaker or UNKNOWN + known_as,
            gender=told.get("gender", ""),
            emotion=emotion,
            sentence=told.get("sentence", "") or known_as,
            language=told.get("language", ""),
            intensity=told.get("intensity", ""),
            known_as=known_as,
        )
        if found.setdefault(known_as, clip) is not clip:
            raise CorpusError(f"{corpus}: {known_as} is there twice")
    if not found:
        raise CorpusError(f"{corpus}: no clip in {place}")
    return [found[key] for key in sorted(found)]


Told = tuple[pathlib.Path, str, dict[str, str]]


def _folders(root: pathlib.Path) -> Iterator[Told]:
    """``label/clip.wav``, or ``label/speaker/clip.wav`` where speakers are known."""
    for path in sorted(root.rglob("*")):
        hidden = path.name.startswith(".")  # what other systems leave beside a file
        if hidden or path.suffix.lower() not in SUFFIXES or not path.is_file():
            continue
        parts = path.relative_to(root).parts
        if len(parts) not in (2, 3):
            raise CorpusError(
                f"{path}: valid layouts below {root} are label/clip and "
                "label/speaker/clip"
            )
        yield path, parts[0], {"speaker": parts[1]} if len(parts) == 3 else {}


def _table(file: pathlib.Path) -> Iterator[Told]:
    """A CSV file: path (relative to it) and label; speaker and more where known."""
    try:
        with file.open(newline="", encoding="utf-8-sig") as opened:
            reader = csv.DictReader(opened)
            columns = reader.fieldnames or []
            if not set(_TABLE_COLUMNS) <= set(columns):
                raise CorpusError(
                    f"{file}: columns are {', '.join(columns) or 'missing'}; valid: "
                    "path, label, and if known speaker, gender, language, sentence, "
                    "intensity"
                )
            for number, row in enumerate(reader, 2):
                if not row["path"] or not row["label"]:
                    raise CorpusError(f"{file}: line {number} lacks a path or a label")
                path = file.parent / row["path"]
                if not path.is_file():
                    raise CorpusError(f"{file}: line {number}: no file {path}")
                yield path, row["label"], {k: v or "" for k, v in row.items() if k}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CorpusError(f"{file}: not readable as CSV: {error}") from error


def _audformat(root: pathlib.Path) -> Iterator[Told]:
    """A database of the audEERING format: the columns emotion and speaker."""
    try:
        import audformat
    except ImportError as error:
        raise CorpusError("audformat databases need: pip install audformat") from error
    if not (root / "db.yaml").exists():
        raise CorpusError(f"{root} holds no audformat database (no db.yaml)")
    try:
        database = audformat.Database.load(str(root), load_data=True)
    except Exception as error:  # of YAML, of pandas, of its own
        why = " ".join(str(error).split())
        raise CorpusError(f"{root}: not readable as audformat: {why}") from error
    told: dict[str, dict[str, str]] = {}

    def take(name: str, values: Mapping[str, object]) -> None:
        for path, value in values.items():
            if value == value and value is not None:  # NaN: not told
                told.setdefault(path, {})[name] = str(value)

    for name, table in database.tables.items():
        columns = _COLUMNS & set(table.columns)
        if not table.is_filewise:
            if "emotion" in columns:
                raise CorpusError(
                    f"{root}: table {name} is of segments; valid: emotions of whole "
                    "files"
                )
            continue
        for column in sorted(columns):
            take(column, table[column].get().astype(object))
        if "speaker" in columns:
            for attribute, meaning in _OF_SPEAKERS.items():
                with contextlib.suppress(ValueError, KeyError):  # the scheme is silent
                    values = table["speaker"].get(map=attribute)
                    take(meaning, values.astype(object))
    if not any("emotion" in columns for columns in told.values()):
        raise CorpusError(f"{root}: no table has a column emotion")
    for path, columns in sorted(told.items()):
        if "emotion" in columns:
            yield root / path, columns["emotion"], columns
