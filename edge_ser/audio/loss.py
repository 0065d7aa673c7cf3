"""How much audio a microphone has lost, by comparing the clock with what arrived.

The drivers do not tell: PortAudio drops audio in silence when nobody reads for a while.
Pure: the caller passes the time.
"""

from __future__ import annotations

# Delays shorter than this are jitter of buffers and of the scheduler.
_TOLERANCE_S = 0.15
# Late audio may still arrive within this time, in a burst.
_PATIENCE_S = 2.0
# Clocks of sound cards differ from the computer's by some 100 parts per million.
_DRIFT = 0.0005


class LossMeter:
    """Counts audio that should have arrived and never did.

    The delay is the time since the start less the audio since the start. It jitters
    above a floor; when it has not come back to the floor for a while, the difference
    is lost for good, and becomes the new floor.

    Args:
        sample_rate_hz: of what `update` is told.

    >>> meter = LossMeter(16000)
    >>> [meter.update(second, 16000) for second in range(1, 4)]
    [0.0, 0.0, 0.0]
    >>> round(sum(meter.update(second, 16000) for second in range(8, 12)), 1)
    4.0
    """

    def __init__(self, sample_rate_hz: int) -> None:
        self._rate_hz = sample_rate_hz
        self.restart()

    def restart(self) -> None:
        """Forget the pace so far: the source was opened anew."""
        self._started_s: float | None = None
        self._last_s = 0.0
        self._heard_s = 0.0
        self._floor_s = 0.0
        self._late_since_s: float | None = None
        self._least_late_s = 0.0

    def update(self, now_s: float, samples: int) -> float:
        """Tell that this much audio has arrived; returns what is newly known as lost.

        Args:
            now_s: monotonic time.
            samples: how many have just arrived.

        Returns:
            Seconds, mostly 0.
        """
        self._heard_s += samples / self._rate_hz
        if self._started_s is None:
            self._started_s = now_s - self._heard_s
            self._last_s = now_s
            return 0.0
        delay_s = now_s - self._started_s - self._heard_s
        self._floor_s += (now_s - self._last_s) * _DRIFT
        self._last_s = now_s
        if delay_s <= self._floor_s + _TOLERANCE_S:
            self._floor_s = min(self._floor_s, delay_s)
            self._late_since_s = None
            return 0.0
        if self._late_since_s is None:
            self._late_since_s, self._least_late_s = now_s, delay_s
        self._least_late_s = min(self._least_late_s, delay_s)
        if now_s - self._late_since_s < _PATIENCE_S:
            return 0.0
        lost_s = self._least_late_s - self._floor_s
        self._floor_s, self._late_since_s = self._least_late_s, None
        return lost_s
