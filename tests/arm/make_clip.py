"""Writes two seconds of the computed voice: make_clip.py PATH PITCH_HZ."""

from __future__ import annotations

import pathlib
import sys
import wave

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

from voice import RATE_HZ, voice

with wave.open(sys.argv[1], "wb") as file:
    file.setnchannels(1)
    file.setsampwidth(2)
    file.setframerate(RATE_HZ)
    samples = voice(float(sys.argv[2]), 2)
    file.writeframes(np.round(samples * 32767).astype("<i2").tobytes())
