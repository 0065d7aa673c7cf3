"""Whether a sound is speech at all: a second, tiny model that the listener asks first.

A level or WebRTC's detector lets through what sounds like a voice for a moment: a tap,
a saw, a clock. This model hears a second at a time.
"""

from __future__ import annotations

import functools
import pathlib

import numpy as np
import numpy.typing as npt

from edge_ser.classifier import Classifier
from edge_ser.errors import ConfigError

Float32 = npt.NDArray[np.float32]

_PATH = pathlib.Path(__file__).parent / "models" / "speech.tflite"
_SPEECH = "speech"
# Windows that must agree before speech begins, and the share of the threshold that is
# enough for it to go on.
_AGREEING = 3
_STAY = 0.5


@functools.cache
def speech_model() -> Classifier:
    """The model that ships with the package; it answers ``speech`` or ``other``.

    Raises:
        BundleError, InterpreterError: see `Classifier.load`.
    """
    return Classifier.load(_PATH)


class SpeechCheck:
    """Follows one stretch of sound and tells whether somebody speaks.

    Args:
        sample_rate_hz: of the audio.
        threshold: least probability of speech, 0 to 1.

    Raises:
        ConfigError: another rate than the speech model's.
    """

    def __init__(self, sample_rate_hz: int, threshold: float) -> None:
        model = speech_model()
        if sample_rate_hz != model.sample_rate_hz:
            raise ConfigError(
                f"the speech model hears {model.sample_rate_hz} Hz, not "
                f"{sample_rate_hz} Hz; set gate.speech = 0 to do without it"
            )
        self.window_samples = model.card.features.model_samples
        self._stream = model.stream()
        self._threshold = threshold
        self.reset()

    def reset(self) -> None:
        """Forget the sound so far."""
        self._stream.reset()
        self._agreeing = 0
        self.speaking = False

    def push(self, samples: Float32) -> bool:
        """Whether somebody speaks at the end of these samples."""
        for prediction in self._stream.push(samples):
            probability = prediction.probabilities[_SPEECH]
            if probability >= self._threshold:
                self._agreeing += 1
                if self._agreeing >= _AGREEING:
                    self.speaking = True
            else:
                self._agreeing = 0
                if probability < self._threshold * _STAY:
                    self.speaking = False
        return self.speaking
