"""EMO-DB, German, acted.

Burkhardt et al. 2005, "A database of German emotional speech", Interspeech. File
names: speaker (two digits), text (letter and two digits), emotion (initial of the
German word), version (letter), as in 03a01Fa.
"""

from __future__ import annotations

import pathlib
import re

from training.corpora.clip import Clip

NAME = "emodb"
LICENCE = "CC0 1.0"
COMMERCIAL_USE = True
PATTERN = re.compile(r"(\d\d)([ab]\d\d)([A-Z])[a-z]?")
EMOTIONS = {
    "W": "angry",  # Wut
    "L": "bored",  # Langeweile
    "E": "disgust",  # Ekel
    "A": "fear",  # Angst
    "F": "happy",  # Freude
    "T": "sad",  # Trauer
    "N": "neutral",
}
MEN = ("03", "10", "11", "12", "15")


def clip(path: pathlib.Path, match: re.Match[str]) -> Clip:
    """The clip that a matching file name describes."""
    speaker, text, emotion = match.groups()
    return Clip(
        path=path,
        corpus=NAME,
        speaker=speaker,
        gender="male" if speaker in MEN else "female",
        emotion=EMOTIONS[emotion],
        sentence=text,
        language="de",
    )
