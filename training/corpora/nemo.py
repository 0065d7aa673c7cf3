"""nEMO, Polish, acted.

Christop 2024, "nEMO: Dataset of Emotional Speech in Polish", LREC-COLING. File names:
speaker, emotion, sentence number, as in EB0_anger_13.
"""

from __future__ import annotations

import pathlib
import re

from training.corpora.clip import Clip

NAME = "nemo"
LICENCE = "CC BY-NC-SA 4.0"
COMMERCIAL_USE = False
PATTERN = re.compile(r"([A-Z]{2}\d)_([a-z]+)_(\d+)")
EMOTIONS = {
    "anger": "angry",
    "fear": "fear",
    "happiness": "happy",
    "neutral": "neutral",
    "sadness": "sad",
    "surprised": "surprise",
}
WOMEN = ("EB0", "IC0", "KD0", "MK0")


def clip(path: pathlib.Path, match: re.Match[str]) -> Clip:
    """The clip that a matching file name describes."""
    speaker, emotion, sentence = match.groups()
    return Clip(
        path=path,
        corpus=NAME,
        speaker=speaker,
        gender="female" if speaker in WOMEN else "male",
        emotion=EMOTIONS[emotion],
        sentence=sentence,
        language="pl",
    )
