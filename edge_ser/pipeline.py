"""From blocks of audio to decisions: gate, model and decider joined.

Pure: no clock, no input or output; time is the position in the stream.
"""

from __future__ import annotations

import collections
import dataclasses

import numpy as np
import numpy.typing as npt

from edge_ser.classifier import Classifier
from edge_ser.decision import Decider, Decision, DecisionSettings
from edge_ser.vad import EnergyDetector, Gate, GateSettings

Float32 = npt.NDArray[np.float32]

_STEP_MS = 100


@dataclasses.dataclass(frozen=True)
class Decided:
    """A decision and when it fell."""

    position_s: float
    """Audio since the start of the stream."""
    decision: Decision


class Pipeline:
    """Gate, model and decider over one stream of audio.

    The model runs only while the gate is open. When it opens, the model hears the
    window that ends there, so that it can answer at once and not a window later.

    Args:
        classifier: may be shared.
    """

    def __init__(
        self,
        classifier: Classifier,
        *,
        gate: GateSettings | None = None,
        decision: DecisionSettings | None = None,
    ) -> None:
        self._rate_hz = classifier.sample_rate_hz
        self._step = self._rate_hz * _STEP_MS // 1000
        self._rest: Float32 = np.empty(0, np.float32)
        self._stream = classifier.stream()
        self._decider = Decider(decision, classifier.card.thresholds)
        self._gate = Gate(EnergyDetector(), self._rate_hz, gate)
        # The newest steps, a window of them, to hear what came before the gate opened.
        self._window_samples = classifier.card.features.model_samples
        count = -(-self._window_samples // self._step)
        silence = np.zeros(self._step, np.float32)
        self._newest = collections.deque([silence] * count, count)
        self._steps = 0

    @property
    def state(self) -> str:
        """What was announced last."""
        return self._decider.state

    @property
    def position_s(self) -> float:
        """Audio taken so far, in whole steps of 0.1 s."""
        return self._steps * _STEP_MS / 1000

    def push(self, block: Float32) -> list[Decided]:
        """The decisions that this block brings about.

        Args:
            block: mono at the model's rate, any length, shape (samples,), float32.
        """
        audio = np.concatenate([self._rest, block]) if len(self._rest) else block
        decided = []
        whole = len(audio) // self._step * self._step
        for start in range(0, whole, self._step):
            decision = self._hear(audio[start : start + self._step])
            if decision is not None:
                decided.append(Decided(self.position_s, decision))
        self._rest = audio[whole:].copy()
        return decided

    def end(self) -> list[Decided]:
        """What the end of the stream brings about: a last ``idle``."""
        decision = self._decider.end()
        return [Decided(self.position_s, decision)] if decision else []

    def _hear(self, step: Float32) -> Decision | None:
        self._steps += 1
        was_open = self._gate.is_open
        is_open = self._gate.push(step)
        self._newest.append(step)
        probabilities = None
        if is_open:
            if not was_open:
                self._stream.reset()
                step = np.concatenate(self._newest)[-self._window_samples :]
            predictions = self._stream.push(step)
            if predictions:
                probabilities = predictions[-1].probabilities
        return self._decider.update(
            probabilities, speech=is_open, time_s=self.position_s
        )
