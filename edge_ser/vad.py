"""Voice activity: when the model should listen, and when it need not.

Pure: no clock, no input or output.
"""

from __future__ import annotations

import dataclasses
from typing import Protocol

import numpy as np
import numpy.typing as npt

from edge_ser.errors import ConfigError

Float32 = npt.NDArray[np.float32]

FRAME_MS = 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class GateSettings:
    """How readily the gate opens and closes.

    Raises:
        ConfigError: a value out of range.
    """

    open_share: float = 0.6
    """Share of voiced frames in the last 0.3 s that opens the gate."""
    close_share: float = 0.15
    """The gate stays open above this share (hysteresis)..."""
    hold_s: float = 0.6
    """...and for this long after it."""

    def __post_init__(self) -> None:
        if not 0 <= self.close_share <= self.open_share <= 1:
            raise ConfigError(
                f"close_share is {self.close_share} and open_share {self.open_share}; "
                "valid: 0 <= close_share <= open_share <= 1"
            )
        if not 0 <= self.hold_s <= 60:
            raise ConfigError(f"hold_s is {self.hold_s}; valid: 0 to 60 seconds")


class Detector(Protocol):
    """Tells voiced frames from others."""

    def voiced(self, frames: Float32) -> npt.NDArray[np.bool_]:
        """Whether somebody speaks in each frame.

        Args:
            frames: consecutive frames of 20 ms, shape (frames, samples).

        Returns:
            Shape (frames,).
        """


class EnergyDetector:
    """Frames well above a slowly adapting noise floor.

    The floor follows falling levels at once and rising ones slowly, so that steady
    noise becomes background after some seconds.

    Args:
        margin_db: how far above the floor speech is.
        least_dbfs: what is quieter is never speech.
        rise_db_per_s: how fast the floor follows a louder background.
    """

    def __init__(
        self,
        *,
        margin_db: float = 9.0,
        least_dbfs: float = -55.0,
        rise_db_per_s: float = 2.0,
    ) -> None:
        self._margin_db = margin_db
        self._least_dbfs = least_dbfs
        self._rise_db = rise_db_per_s * FRAME_MS / 1000
        self._floor_db: float | None = None

    def voiced(self, frames: Float32) -> npt.NDArray[np.bool_]:
        """See `Detector.voiced`."""
        power = np.einsum("ij,ij->i", frames, frames) / frames.shape[1]
        levels_db = 10 * np.log10(np.maximum(power, 1e-12))
        answers = np.empty(len(frames), np.bool_)
        floor_db = self._floor_db
        for index, level_db in enumerate(levels_db.tolist()):
            if floor_db is None:
                # Speech may be going on already: do not take it for the background.
                floor_db = min(level_db, self._least_dbfs)
            floor_db = min(level_db, floor_db + self._rise_db)
            floor_db = max(floor_db, -100.0)
            answers[index] = level_db > max(
                floor_db + self._margin_db, self._least_dbfs
            )
        self._floor_db = floor_db
        return answers


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
        self.is_open = False
        self._detector = detector
        self._frame_samples = sample_rate_hz * FRAME_MS // 1000
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
