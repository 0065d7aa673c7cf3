"""Predictions over time become events: a state that changes seldom and for a reason.

Pure: no clock, no input or output; the caller passes the time.
"""

from __future__ import annotations

import dataclasses
import math

from edge_ser.errors import ConfigError

IDLE, UNCERTAIN = "idle", "uncertain"


@dataclasses.dataclass(frozen=True, kw_only=True)
class DecisionSettings:
    """How readily the state changes.

    Raises:
        ConfigError: a value out of range.
    """

    smoothing_s: float = 0.8
    """Time constant of the exponential average over predictions."""
    enter: float = 0.3
    """Least smoothed probability of a label to be announced."""
    leave: float = 0.22
    """An announced label stays while it leads with at least this (hysteresis)."""
    least_speech_s: float = 0.3
    """What is said before this much speech was heard is not judged."""
    dwell_s: float = 0.4
    """A new label must lead this long before it is announced; when the speech ends
    first, it is announced then."""
    uncertain_after_s: float = 1.5
    """No label must have been probable enough for this long before ``uncertain``."""
    idle_after_s: float = 2.0
    """Silence of this length ends the state."""

    def __post_init__(self) -> None:
        for name in (
            "smoothing_s",
            "least_speech_s",
            "dwell_s",
            "uncertain_after_s",
            "idle_after_s",
        ):
            if not 0 <= getattr(self, name) <= 3600:
                raise ConfigError(
                    f"{name} is {getattr(self, name)}; valid: 0 to 3600 seconds"
                )
        if not 0 <= self.leave <= self.enter <= 1:
            raise ConfigError(
                f"leave is {self.leave} and enter {self.enter}; "
                "valid: 0 <= leave <= enter <= 1"
            )


@dataclasses.dataclass(frozen=True)
class Decision:
    """A change of state."""

    label: str
    """A label of the model, ``uncertain`` (speech, no clear winner) or ``idle``."""
    confidence: float
    """Smoothed probability of the label, of the leader if uncertain, 0 if idle."""
    probabilities: dict[str, float]
    """Smoothed, by label; empty if idle."""
    duration_s: float
    """Speech that the decision rests on; if idle, how long the utterance was."""


class Decider:
    """Turns predictions and speech activity into decisions.

    Starts idle. A label that leads with enough smoothed probability for `dwell_s` is
    announced, and replaced only by another one that does, or by ``uncertain``; after
    `idle_after_s` of silence comes ``idle``.

    Args:
        settings: see `DecisionSettings`.
        thresholds: least smoothed probability by label, in place of ``settings.enter``:
            a model's card may ask more of a label, or less.

    >>> decider = Decider(DecisionSettings(least_speech_s=0, dwell_s=0))
    >>> decider.update({"happy": 0.9, "sad": 0.1}, speech=True, time_s=1.0).label
    'happy'
    >>> decider.update(None, speech=False, time_s=2.0)
    >>> decider.update(None, speech=False, time_s=3.0).label
    'idle'
    """

    def __init__(
        self,
        settings: DecisionSettings | None = None,
        thresholds: dict[str, float] | None = None,
    ) -> None:
        self.settings = settings or DecisionSettings()
        self.thresholds = dict(thresholds or {})
        self.state = IDLE
        self._forget()

    def _forget(self) -> None:
        self._smoothed: dict[str, float] = {}
        self._smoothed_at_s: float | None = None
        self._candidate: str | None = None
        self._candidate_since_s = 0.0
        self._speech_since_s: float | None = None
        self._last_speech_s = 0.0
        self._spoken = False

    def update(
        self, probabilities: dict[str, float] | None, *, speech: bool, time_s: float
    ) -> Decision | None:
        """Take the newest window; returns a decision if the state changes.

        Args:
            probabilities: by label, or None if no window was computed.
            speech: whether somebody speaks now.
            time_s: monotonic, not smaller than at the last call.
        """
        if speech:
            if self._speech_since_s is None:
                self._speech_since_s = time_s
            self._last_speech_s = time_s
            self._spoken = True
        elif self._speech_since_s is None:
            return None
        elif time_s - self._last_speech_s >= self.settings.idle_after_s:
            return self.end()
        elif self._spoken:
            self._spoken = False
            return self._conclude(time_s)
        if probabilities is None or not speech:
            return None
        assert self._speech_since_s is not None
        if time_s - self._speech_since_s < self.settings.least_speech_s:
            return None
        self._smooth(probabilities, time_s)
        return self._decide(time_s)

    def end(self) -> Decision | None:
        """The utterance is over, or the audio: ``idle``, unless it was so already."""
        since_s = self._speech_since_s
        duration_s = 0.0 if since_s is None else self._last_speech_s - since_s
        was, self.state = self.state, IDLE
        self._forget()
        return None if was == IDLE else Decision(IDLE, 0.0, {}, duration_s)

    def _smooth(self, probabilities: dict[str, float], time_s: float) -> None:
        if self._smoothed_at_s is None or self.settings.smoothing_s == 0:
            self._smoothed = dict(probabilities)
        else:
            # Exact for any spacing of the predictions in time.
            elapsed = max(0.0, time_s - self._smoothed_at_s)
            keep = math.exp(-elapsed / self.settings.smoothing_s)
            self._smoothed = {
                label: keep * self._smoothed[label] + (1 - keep) * value
                for label, value in probabilities.items()
            }
        self._smoothed_at_s = time_s

    def _decide(self, time_s: float) -> Decision | None:
        leader = max(self._smoothed, key=self._smoothed.__getitem__)
        value = self._smoothed[leader]
        enter = self.thresholds.get(leader, self.settings.enter)
        leave = min(enter, self.settings.leave)
        needed = leave if leader == self.state else enter
        candidate = leader if value >= needed else UNCERTAIN
        if candidate == self.state:
            self._candidate = None
            return None
        if candidate != self._candidate:
            self._candidate, self._candidate_since_s = candidate, time_s
        if candidate == UNCERTAIN:
            needed_s = self.settings.uncertain_after_s
        else:
            needed_s = self.settings.dwell_s
        if time_s - self._candidate_since_s < needed_s:
            return None
        return self._change(candidate, time_s)

    def _conclude(self, time_s: float) -> Decision | None:
        """Speech pauses: what has been on its way is announced without more waiting."""
        candidate, self._candidate = self._candidate, None
        if candidate is None or self.state not in (IDLE, UNCERTAIN):
            return None
        return self._change(candidate, time_s)

    def _change(self, label: str, time_s: float) -> Decision:
        self.state, self._candidate = label, None
        assert self._speech_since_s is not None
        return Decision(
            label,
            max(self._smoothed.values()),
            dict(self._smoothed),
            time_s - self._speech_since_s,
        )
