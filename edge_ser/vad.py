"""Voice activity: when to listen closely, and when not to bother.

Pure: no clock, no input or output.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from edge_ser.errors import ConfigError

Float32 = npt.NDArray[np.float32]

FRAME_MS = 20
_WEBRTC_RATES_HZ = (8000, 16000, 32000, 48000)
_DETECTORS = ("auto", "webrtc", "energy")


@dataclasses.dataclass(frozen=True, kw_only=True)
class GateSettings:
    """How readily the listener takes sound for speech.

    Raises:
        ConfigError: a value out of range.
    """

    detector: str = "auto"
    """``webrtc`` (the extra ``vad``), ``energy``, or ``auto``: webrtc if installed."""
    least_dbfs: float = -60.0
    """What is quieter is silence, in dB of full scale."""
    open_share: float = 0.5
    """Share of voiced frames in the last 0.3 s that opens the gate."""
    close_share: float = 0.15
    """The gate stays open above this share (hysteresis)..."""
    hold_s: float = 0.6
    """...and for this long after it."""
    speech: float = 0.9
    """Least probability, by the speech model, that a sound is speech; 0: not asked."""

    def __post_init__(self) -> None:
        if self.detector not in _DETECTORS:
            raise ConfigError(
                f"detector is {self.detector!r}; valid: {', '.join(_DETECTORS)}"
            )
        if not 0 <= self.close_share <= self.open_share <= 1:
            raise ConfigError(
                f"close_share is {self.close_share} and open_share {self.open_share}; "
                "valid: 0 <= close_share <= open_share <= 1"
            )
        if not 0 <= self.hold_s <= 60:
            raise ConfigError(f"hold_s is {self.hold_s}; valid: 0 to 60 seconds")
        if not 0 <= self.speech < 1:
            raise ConfigError(f"speech is {self.speech}; valid: 0 to below 1")
        if not -120 <= self.least_dbfs <= 0:
            raise ConfigError(f"least_dbfs is {self.least_dbfs}; valid: -120 to 0")


class Detector(Protocol):
    """Tells frames that may be voice from others."""

    def voiced(self, frames: Float32) -> npt.NDArray[np.bool_]:
        """Whether each frame may be voice.

        Args:
            frames: consecutive frames of 20 ms, shape (frames, samples).

        Returns:
            Shape (frames,).
        """


def levels_dbfs(frames: Float32) -> npt.NDArray[np.float64]:
    """RMS level of each frame in dB of full scale, shape (frames,), at least -120."""
    power = np.einsum("ij,ij->i", frames, frames) / frames.shape[1]
    levels = 10 * np.log10(np.maximum(power, 1e-12))
    return np.asarray(levels, np.float64)


class EnergyDetector:
    """Frames well above a slowly adapting noise floor.

    The floor follows falling levels at once and rising ones slowly, so that steady
    noise becomes background after some seconds.

    Args:
        least_dbfs: what is quieter is never voice.
        margin_db: how far above the floor voice is.
        rise_db_per_s: how fast the floor follows a louder background.
    """

    def __init__(
        self,
        *,
        least_dbfs: float = -60.0,
        margin_db: float = 8.0,
        rise_db_per_s: float = 1.5,
    ) -> None:
        self._least_dbfs = least_dbfs
        self._margin_db = margin_db
        self._rise_db = rise_db_per_s * FRAME_MS / 1000
        self._floor_db: float | None = None

    def voiced(self, frames: Float32) -> npt.NDArray[np.bool_]:
        """See `Detector.voiced`."""
        answers = np.empty(len(frames), np.bool_)
        floor_db = self._floor_db
        for index, level_db in enumerate(levels_dbfs(frames).tolist()):
            if floor_db is None:
                # Somebody may be speaking already: that is no background.
                floor_db = min(level_db, self._least_dbfs)
            floor_db = max(-100.0, min(level_db, floor_db + self._rise_db))
            answers[index] = level_db > max(
                floor_db + self._margin_db, self._least_dbfs
            )
        self._floor_db = floor_db
        return answers


class WebrtcDetector:
    """WebRTC's Gaussian mixture detector (the extra ``vad``) on frames loud enough.

    Args:
        sample_rate_hz: 8000, 16000, 32000 or 48000.
        least_dbfs: what is quieter is never voice.
        mode: 0 (lets much through) to 3 (strict).

    Raises:
        ConfigError: webrtcvad is not installed, or another rate.
    """

    def __init__(
        self, sample_rate_hz: int, *, least_dbfs: float = -60.0, mode: int = 2
    ) -> None:
        try:
            # The distribution's C module: its Python wrapper adds nothing but a look
            # at its own version, which costs 3 MiB of memory for good.
            self._webrtc: Any = importlib.import_module("_webrtcvad")
        except ImportError as error:
            raise ConfigError(
                "detector 'webrtc' needs webrtcvad: pip install webrtcvad-wheels"
            ) from error
        if sample_rate_hz not in _WEBRTC_RATES_HZ:
            raise ConfigError(
                f"detector 'webrtc' at {sample_rate_hz} Hz; "
                f"valid: {', '.join(map(str, _WEBRTC_RATES_HZ))} Hz, or 'energy'"
            )
        self._vad = self._webrtc.create()
        self._webrtc.init(self._vad)
        self._webrtc.set_mode(self._vad, mode)
        self._rate_hz = sample_rate_hz
        self._least_dbfs = least_dbfs

    def voiced(self, frames: Float32) -> npt.NDArray[np.bool_]:
        """See `Detector.voiced`."""
        answers = levels_dbfs(frames) > self._least_dbfs
        if answers.any():
            pcm = (np.clip(frames, -1, 1) * np.float32(32767)).astype("<i2")
            for index in np.flatnonzero(answers):
                answers[index] = self._webrtc.process(
                    self._vad, self._rate_hz, pcm[index].tobytes(), pcm.shape[1]
                )
        return answers


def make_detector(settings: GateSettings, sample_rate_hz: int) -> Detector:
    """The detector that the settings name.

    Raises:
        ConfigError: see `WebrtcDetector`.
    """
    name = settings.detector
    if name == "auto":
        usable = (
            importlib.util.find_spec("_webrtcvad") is not None
            and sample_rate_hz in _WEBRTC_RATES_HZ
        )
        name = "webrtc" if usable else "energy"
    if name == "webrtc":
        return WebrtcDetector(sample_rate_hz, least_dbfs=settings.least_dbfs)
    return EnergyDetector(least_dbfs=settings.least_dbfs)


class Gate:
    """Opens when enough recent frames are voiced, closes some time after the last.

    Args:
        detector: tells voiced frames.
        sample_rate_hz: of the audio.
    """

    def __init__(
        self,
        detector: Detector,
        sample_rate_hz: int,
        settings: GateSettings | None = None,
    ) -> None:
        self.settings = settings or GateSettings()
        self._detector = detector
        self._frame_samples = sample_rate_hz * FRAME_MS // 1000
        self.reset()

    def reset(self) -> None:
        """Close, and forget the voice so far; the detector keeps the background."""
        self.is_open = False
        self._recent = np.zeros(300 // FRAME_MS, np.bool_)
        self._quiet_s = 0.0

    def push(self, step: Float32) -> bool:
        """Whether the gate is open after this step.

        Args:
            step: whole frames of 20 ms, shape (samples,).
        """
        frames = step.reshape(-1, self._frame_samples)
        voiced = self._detector.voiced(frames)[-len(self._recent) :]
        self._recent = np.concatenate([self._recent[len(voiced) :], voiced])
        share = float(self._recent.mean())
        if share >= self.settings.open_share:
            self.is_open, self._quiet_s = True, 0.0
        elif share > self.settings.close_share:
            self._quiet_s = 0.0
        else:
            self._quiet_s += len(frames) * FRAME_MS / 1000
            if self._quiet_s >= self.settings.hold_s:
                self.is_open = False
        return self.is_open
