"""RAVDESS, North American English, acted.

Livingstone & Russo 2018, PLoS ONE 13(5) e0196391. File names are seven two-digit
codes: modality, vocal channel, emotion, intensity, statement, repetition, actor; odd
actors are men. Only audio-only speech (03-01) is taken: song and video are others.
"""

from __future__ import annotations

import pathlib
import re

from training.corpora.clip import Clip

NAME = "ravdess"
LICENCE = "CC BY-NC-SA 4.0"
COMMERCIAL_USE = False
PATTERN = re.compile(r"03-01-(0[1-8])-(0[12])-(0[12])-0[12]-(\d\d)")
EMOTIONS = {
    "01": "neutral",
    "02": "calm",
    "03": "happy",
    "04": "sad",
    "05": "angry",
    "06": "fear",
    "07": "disgust",
    "08": "surprise",
}


def clip(path: pathlib.Path, match: re.Match[str]) -> Clip:
    """The clip that a matching file name describes."""
    emotion, intensity, statement, actor = match.groups()
    return Clip(
        path=path,
        corpus=NAME,
        speaker=actor,
        gender="male" if int(actor) % 2 else "female",
        emotion=EMOTIONS[emotion],
        intensity={"01": "normal", "02": "strong"}[intensity],
        sentence=statement,
        language="en",
    )
