"""From blocks of audio to decisions: gate, models and decider joined.

Pure: no clock, no input or output; time is the position in the stream.
"""

from __future__ import annotations

import collections
import dataclasses

import numpy as np
import numpy.typing as npt

from edge_ser.adaptation import AdaptationSettings
from edge_ser.classifier import Classifier
from edge_ser.decision import Decider, Decision, DecisionSettings
from edge_ser.samples import check_samples
from edge_ser.speech import SpeechCheck
from edge_ser.vad import FRAME_MS, Gate, GateSettings, make_detector

Float32 = npt.NDArray[np.float32]

STEP_MS = 100


@dataclasses.dataclass(frozen=True)
class Decided:
    """A decision and when it fell."""

    position_s: float
    """Audio since the start of the stream."""
    decision: Decision


class Pipeline:
    """Gate, models and decider over one stream of audio.

    Three stages, each of which lets the next one rest: the gate looks for anything that
    may be a voice, the speech model makes sure that it is one, the emotion model hears
    it. A stage that wakes first hears what came just before (pre-roll), so that it can
    answer at once and not a window later.

    This is what ``edge-ser listen`` hears by; give it all that a microphone picks up,
    day and night. One belongs to one thread at a time.

    Args:
        classifier: the emotion model; may be shared.
        gate: what counts as speech.
        decision: how readily the state changes.
        adaptation: how fast it gets used to its room.

    Raises:
        ConfigError: a model rate that the gate cannot work with.
        InterpreterError: the speech model finds no runtime; it is a file of this
            package, and takes the first interpreter that works.

    >>> pipeline = Pipeline(Classifier.load())
    >>> pipeline.push(np.zeros(16000 * 60, np.int16))
    []
    >>> pipeline.state, pipeline.position_s
    ('idle', 60.0)
    """

    def __init__(
        self,
        classifier: Classifier,
        *,
        gate: GateSettings | None = None,
        decision: DecisionSettings | None = None,
        adaptation: AdaptationSettings | None = None,
    ) -> None:
        gate = gate or GateSettings()
        rate_hz = classifier.sample_rate_hz
        # Whole frames of the gate, at 11,025 Hz too.
        self._step = STEP_MS // FRAME_MS * (rate_hz * FRAME_MS // 1000)
        self._rate_hz = rate_hz
        self._rest: Float32 = np.empty(0, np.float32)
        self._gate = Gate(make_detector(gate, rate_hz), rate_hz, gate)
        self._check = SpeechCheck(rate_hz, gate.speech) if gate.speech else None
        # Kept over gaps: the room stays the same.
        self._adaptation = classifier.adaptation(adaptation)
        self._stream = classifier.stream(adaptation=self._adaptation)
        self._decider = Decider(decision, classifier.card.thresholds)
        self._window_samples = classifier.card.features.model_samples
        longest = self._window_samples
        if self._check is not None:
            longest = max(longest, self._check.window_samples)
        count = -(-longest // self._step)
        self._silence = [np.zeros(self._step, np.float32)] * count
        self._newest = collections.deque(self._silence, count)
        self._remembers = False
        self._steps = 0
        self._was_open = self._was_speaking = False
        self.windows = 0
        """How often the emotion model has been asked."""

    @property
    def state(self) -> str:
        """What was announced last."""
        return self._decider.state

    @property
    def position_s(self) -> float:
        """Audio taken so far, in whole steps of 0.1 s (0.0998 s at 11,025 Hz)."""
        return self._steps * self._step / self._rate_hz

    def push(self, block: npt.ArrayLike) -> list[Decided]:
        """The decisions that this block brings about.

        Args:
            block: mono PCM at the model's rate, any length, shape (samples,), float in
                [-1, 1] or int16.

        Raises:
            AudioError: NaN, another shape or type; all is as before the call.
        """
        return self.push_checked(check_samples(block))

    def push_checked(self, samples: Float32) -> list[Decided]:
        """As `push`, for a source that has checked its samples: the listener's.

        Args:
            samples: mono at the model's rate, any length, shape (samples,), float32.
        """
        self._remembers = True
        audio = np.concatenate([self._rest, samples]) if len(self._rest) else samples
        decided = []
        whole = len(audio) // self._step * self._step
        for start in range(0, whole, self._step):
            # A copy: the steps are kept, the caller's block must not be.
            decision = self._hear(audio[start : start + self._step].copy())
            if decision is not None:
                decided.append(Decided(self.position_s, decision))
        self._rest = audio[whole:].copy()
        return decided

    def end(self) -> list[Decided]:
        """What the end of the audio, or a gap in it, brings about: ``idle``.

        No audio is kept: what was said before a gap has no part in what is announced
        after it, but for the room's part in it, see `edge_ser.adaptation`.
        """
        if self._remembers:
            self._remembers = False
            self._rest = np.empty(0, np.float32)
            self._newest.extend(self._silence)
            self._gate.reset()
            self._stream.reset()
            if self._check is not None:
                self._check.reset()
            self._was_open = self._was_speaking = False
        decision = self._decider.end()
        return [Decided(self.position_s, decision)] if decision else []

    def forget(self) -> list[Decided]:
        """As `end`, and what was learned of the room is forgotten, too."""
        if self._adaptation is not None:
            self._adaptation.reset()
        return self.end()

    def _hear(self, step: Float32) -> Decision | None:
        self._steps += 1
        self._newest.append(step)
        is_open = self._gate.push(step)
        speaking = is_open and self._is_speech(step)
        self._was_open = is_open
        probabilities = None
        if speaking:
            if self._was_speaking:
                heard = step
            else:
                self._stream.reset()
                heard = self._pre_roll(self._window_samples)
            predictions = self._stream.push(heard)
            self.windows += len(predictions)
            if predictions:
                probabilities = predictions[-1].probabilities
        self._was_speaking = speaking
        return self._decider.update(
            probabilities, speech=speaking, time_s=self.position_s
        )

    def _is_speech(self, step: Float32) -> bool:
        if self._check is None:
            return True
        if self._was_open:
            return self._check.push(step)
        self._check.reset()
        return self._check.push(self._pre_roll(self._check.window_samples))

    def _pre_roll(self, samples: int) -> Float32:
        """The newest audio, this step included."""
        count = -(-samples // self._step)
        steps = list(self._newest)[-count:]
        return np.concatenate(steps)[-samples:]
