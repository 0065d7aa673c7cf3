"""A computed voice: a buzz through three formants, in syllables."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

RATE_HZ = 16000


def voice(
    pitch_hz: float, seconds: float, level: float = 0.1, seed: int = 0
) -> npt.NDArray[np.float32]:
    """Mono at 16 kHz, RMS `level` of full scale, four syllables a second."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    bend = 1 + 0.06 * np.sin(2 * np.pi * 1.3 * time_s + rng.uniform(0, 6))
    phase = 2 * np.pi * np.cumsum(pitch_hz * bend) / RATE_HZ
    sound = np.zeros_like(time_s)
    for harmonic in range(1, int(3800 / pitch_hz)):
        frequency_hz = harmonic * pitch_hz
        gain = sum(
            np.exp(-(((frequency_hz - formant_hz) / width_hz) ** 2))
            for formant_hz, width_hz in ((600, 250), (1400, 350), (2700, 500))
        )
        sound += (gain + 0.02) * np.sin(harmonic * phase + rng.uniform(0, 6))
    sound *= 0.15 + 0.85 * np.sin(np.pi * 4 * time_s) ** 2
    sound *= level / np.sqrt(np.mean(sound**2))
    return sound.astype(np.float32)


def hiss(
    seconds: float, level: float = 0.001, seed: int = 0
) -> npt.NDArray[np.float32]:
    """White noise of RMS `level`: a quiet room."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal(round(seconds * RATE_HZ)) * level
    return noise.astype(np.float32)
