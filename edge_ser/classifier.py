"""Audio in, predictions out: the class that programs embed."""

from __future__ import annotations

import dataclasses
import os
import threading
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from edge_ser import bundle as bundles
from edge_ser.adaptation import Adaptation, AdaptationSettings
from edge_ser.errors import AudioError, BundleError, ConfigError
from edge_ser.features import (
    FeatureSpec,
    FeatureStream,
    check_samples,
    model_input,
    static_features,
)
from edge_ser.interpreter import Interpreter

Float32 = npt.NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class Prediction:
    """The model's answer for one window, or the mean over a clip's windows."""

    label: str
    confidence: float
    """Probability of `label`, 0 to 1."""
    probabilities: dict[str, float]
    """By label, in the model's order; they sum to 1."""
    start_s: float
    """Where the audio it speaks of begins, from the start of clip or stream."""
    duration_s: float
    """How much audio it speaks of."""


def softmax(logits: Float32, temperature: float = 1.0) -> Float32:
    """``exp(z / T) / sum(exp(z / T))`` without overflow; shape (classes,)."""
    scaled = (logits - logits.max()) / np.float32(temperature)
    powers = np.exp(scaled)
    return np.asarray(powers / powers.sum(), np.float32)


class Classifier:
    """A loaded model.

    One classifier may be shared by threads: features run side by side, inference takes
    turns. A `Stream` belongs to one thread at a time.

    >>> classifier = Classifier.load()
    >>> prediction = classifier.classify(np.zeros(32000, np.float32), 16000)
    >>> prediction.label in classifier.labels
    True
    """

    def __init__(self, bundle: bundles.Bundle, interpreter: Interpreter) -> None:
        self.card = bundle.card
        self.bundle = bundle
        self.interpreter = interpreter
        self._turn = threading.Lock()
        spec = self.card.features
        expected = (1, spec.frames_per_window, spec.n_features)
        if interpreter.input_shape != expected:
            raise BundleError(
                f"the model takes {interpreter.input_shape}, but its card says "
                f"{expected}"
            )
        if interpreter.n_outputs != len(self.card.labels):
            raise BundleError(
                f"the model has {interpreter.n_outputs} outputs, but its card names "
                f"{len(self.card.labels)} labels: {', '.join(self.card.labels)}"
            )

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str] | None = None,
        *,
        runtime: str | None = None,
        threads: int = 1,
        delegate: str | os.PathLike[str] | None = None,
        portable: bool = False,
        public_keys: Sequence[str | os.PathLike[str]] = (),
    ) -> Classifier:
        """Read, check and load a bundle.

        Args:
            path: a .tflite bundle, or the name of one that ships with the package
                (`edge_ser.bundle.SHIPPED`); None is ``standard``.
            runtime: ``ai-edge-litert``, ``tflite-runtime`` or ``tensorflow``; None
                takes the first of the former two that works.
            threads: of the runtime, 1 to 64.
            delegate: ``edgetpu``, or the path of a TFLite delegate's library.
            portable: the same int8 results in every runtime and on every processor,
                20 to 30 times slower; see `Interpreter`.
            public_keys: PEM files; if any are given, the bundle (the one that ships
                with the package, too) must be signed by one of them.

        Raises:
            BundleError: the file is refused; the message says why.
            InterpreterError: no runtime, or not the one asked for; no such delegate, or
                it finds no device.
            ConfigError: an unknown runtime, threads out of range, or a bad public key.
        """
        if public_keys:
            from edge_ser import signing

            trusted = signing.load_public_keys(public_keys)
            bundle = bundles.read(path, public_keys=trusted)
        else:
            bundle = bundles.read(path)
        interpreter = Interpreter(
            bundle.model,
            runtime=runtime,
            threads=threads,
            delegate=delegate,
            portable=portable,
        )
        return cls(bundle, interpreter)

    @property
    def labels(self) -> tuple[str, ...]:
        """What it can answer, in the order of the model's outputs."""
        return self.card.labels

    @property
    def sample_rate_hz(self) -> int:
        """The rate that `stream` takes."""
        return self.card.features.sample_rate_hz

    def adaptation(
        self, settings: AdaptationSettings | None = None
    ) -> Adaptation | None:
        """What lets a stream get used to its room; None if the model's card cannot.

        Also None if the settings switch it off.
        """
        settings = settings or AdaptationSettings()
        speakers = self.card.speakers
        if not (settings.enabled and speakers):
            return None
        mean, spread = speakers["mean"], speakers["spread"]
        return Adaptation(self.card.features, mean, spread, settings)

    def probabilities(
        self,
        frames: Float32,
        adaptation: Adaptation | None = None,
        *,
        heard_s: float | None = None,
    ) -> Float32:
        """Probabilities of one window of static features, shape (classes,).

        Args:
            frames: shape (frames_per_window, n_static), float32.
            adaptation: of the place where they were heard; it learns from them.
            heard_s: seconds since the window before; None is the card's hop.

        Raises:
            AudioError: NaN or infinity among them.
            ConfigError: another shape.
        """
        frames = np.asarray(frames, np.float32)
        if not np.isfinite(frames).all():
            raise AudioError("a window holds NaN or infinity")
        return self._probabilities(frames, adaptation, heard_s)

    def _probabilities(
        self, frames: Float32, adaptation: Adaptation | None, heard_s: float | None
    ) -> Float32:
        window = model_input(frames, self.card.features)
        if adaptation is not None:
            window = adaptation.push(window, heard_s or self.card.hop_s)
        with self._turn:
            logits = self.interpreter.logits(window)
        return softmax(logits, self.card.temperature)

    def prediction(
        self, probabilities: Float32, start_s: float, duration_s: float
    ) -> Prediction:
        """Probabilities with their labels."""
        winner = int(np.argmax(probabilities))
        return Prediction(
            label=self.labels[winner],
            confidence=float(probabilities[winner]),
            probabilities=dict(
                zip(self.labels, map(float, probabilities), strict=True)
            ),
            start_s=start_s,
            duration_s=duration_s,
        )

    def classify(
        self,
        samples: npt.ArrayLike,
        sample_rate_hz: int,
        *,
        adaptation: Adaptation | None = None,
    ) -> Prediction:
        """The emotion of a clip: the mean over its windows.

        A clip shorter than a window is completed with silence.

        Args:
            samples: mono PCM, shape (samples,), float in [-1, 1] or int16.
            sample_rate_hz: 8000 to 192000; resampled to the model's rate.
            adaptation: of the place of this clip and others, see `adaptation`; without
                it each clip stands for itself. Give it to one thread at a time.

        Raises:
            AudioError: no audio, NaN, not mono, or a rate out of range.
        """
        signal = check_samples(samples)
        if sample_rate_hz != self.sample_rate_hz:
            from edge_ser.resample import resample

            signal = resample(signal, sample_rate_hz, self.sample_rate_hz)
        return self.classify_blocks(iter([signal]), adaptation=adaptation)

    def classify_blocks(
        self, blocks: Iterator[Float32], *, adaptation: Adaptation | None = None
    ) -> Prediction:
        """As `classify`, for audio at `sample_rate_hz` that arrives in blocks.

        Memory does not grow with the length.

        Raises:
            AudioError: less than one frame of audio, or a bad block.
        """
        stream = self.stream(adaptation=adaptation)
        total = np.zeros(len(self.labels), np.float64)
        windows = samples = 0
        for block in blocks:
            for prediction in stream.push(block):
                total += list(prediction.probabilities.values())
                windows += 1
            samples += np.size(block)
        for prediction in stream.finish():
            total += list(prediction.probabilities.values())
            windows += 1
        mean = (total / windows).astype(np.float32)
        return self.prediction(mean, 0.0, samples / self.sample_rate_hz)

    def stream(
        self, hop_s: float | None = None, *, adaptation: Adaptation | None = None
    ) -> Stream:
        """Predictions over audio that arrives in blocks; see `Stream`.

        Args:
            hop_s: seconds between predictions, one frame to one window, rounded to
                whole frames; None is the card's own.
            adaptation: of the place that is heard, see `adaptation`. It is kept when
                the stream is reset.

        Raises:
            ConfigError: a hop beyond these, or another model's adaptation.
        """
        if hop_s is None:
            return Stream(self, self.card.hop_frames, adaptation)
        spec = self.card.features
        frame_s = spec.hop_samples / spec.sample_rate_hz
        longest_s = spec.frames_per_window * frame_s
        if not frame_s <= hop_s <= longest_s:
            raise ConfigError(
                f"hop_s is {hop_s:g}; valid: {frame_s:g} to {longest_s:g}"
            )
        return Stream(self, round(hop_s / frame_s), adaptation)


class Stream:
    """Windows over a stream of PCM at the model's rate.

    The first prediction comes with the sample that completes the first window, then
    one every hop. Predictions are the same, to the last bit, however the audio is cut
    into blocks; every frame is computed once; memory stays constant. One stream belongs
    to one thread at a time.

    >>> stream = Classifier.load().stream()
    >>> predictions = stream.push(np.zeros(16000 * 4, np.float32))
    >>> [round(prediction.start_s, 2) for prediction in predictions]
    [0.0, 0.5, 1.0, 1.5, 2.0]
    """

    def __init__(
        self,
        classifier: Classifier,
        hop_frames: int,
        adaptation: Adaptation | None = None,
    ) -> None:
        if adaptation is not None and adaptation.spec != classifier.card.features:
            raise ConfigError(
                "the adaptation is of another model; valid: one by `adaptation` of this"
            )
        self._classifier = classifier
        self._adaptation = adaptation
        self._spec: FeatureSpec = classifier.card.features
        self._hop_frames = hop_frames
        # Audio waits here until it completes a window, then becomes features at once:
        # cheaper than frame by frame, and the same numbers to the last bit however
        # the blocks were cut.
        self._waiting = np.empty(self._hop_frames * self._spec.hop_samples, np.float32)
        self._features = FeatureStream(self._spec)
        capacity = 2 * self._spec.frames_per_window + self._hop_frames
        self._frames = np.empty((capacity, self._spec.n_static), np.float32)
        self.reset()

    def reset(self) -> None:
        """Forget the audio so far, as if the stream were new."""
        self._features.reset()
        self._waiting.fill(0)  # nobody finds in memory what is forgotten
        self._frames.fill(0)
        self._waiting_samples = 0
        # The first piece is shorter, so that every later one ends with a window.
        hop_samples = len(self._waiting)
        self._piece_samples = self._spec.model_samples % hop_samples or hop_samples
        self._filled = 0  # frames in the buffer
        self._dropped = 0  # frames that have left it
        self._next_start = 0  # first frame of the next window, from the stream's start

    def push(self, block: npt.ArrayLike) -> list[Prediction]:
        """The predictions that this block completes, in order.

        Args:
            block: mono PCM at `Classifier.sample_rate_hz`, any length, float in
                [-1, 1] or int16.

        Raises:
            AudioError: NaN, another shape or type; the stream is as before the call.
        """
        samples = check_samples(block)
        predictions: list[Prediction] = []
        taken = 0
        while taken < len(samples):
            waiting = self._waiting_samples
            part = samples[taken : taken + self._piece_samples - waiting]
            self._waiting[waiting : waiting + len(part)] = part
            self._waiting_samples += len(part)
            taken += len(part)
            if self._waiting_samples == self._piece_samples:
                self._drain()
                predictions += self._complete_windows()
        return predictions

    def _drain(self) -> None:
        """Features of the audio that waits."""
        self._append(self._features.push(self._waiting[: self._waiting_samples]))
        self._waiting_samples = 0
        self._piece_samples = len(self._waiting)

    def finish(self) -> list[Prediction]:
        """What the end of a clip adds: the window that ends with its last frame.

        Nothing if the last prediction reached there already. Call `reset` to go on.

        Raises:
            AudioError: the clip was shorter than one frame.
        """
        self._drain()
        seen = self._dropped + self._filled
        if not seen:
            raise AudioError(
                f"less than {self._spec.window_ms:g} ms of audio; nothing to classify"
            )
        last_end = self._next_start - self._hop_frames + self._spec.frames_per_window
        if self._next_start and last_end >= seen:
            return []
        count = min(seen, self._spec.frames_per_window)
        frames = self._frames[self._filled - count : self._filled]
        missing = self._spec.frames_per_window - count
        if missing:
            silence = static_features(
                np.zeros(self._spec.window_samples, np.float32), self._spec
            )
            frames = np.concatenate([frames, np.repeat(silence, missing, 0)])
        return [self._predict(frames, seen - count, count)]

    def _append(self, frames: Float32) -> None:
        if self._filled + len(frames) > len(self._frames):
            # Keep one window behind the newest frame, for `finish`.
            keep = min(self._filled, self._spec.frames_per_window)
            drop = self._filled - keep
            self._frames[:keep] = self._frames[drop : self._filled].copy()
            self._filled, self._dropped = keep, self._dropped + drop
        self._frames[self._filled : self._filled + len(frames)] = frames
        self._filled += len(frames)

    def _complete_windows(self) -> list[Prediction]:
        size = self._spec.frames_per_window
        predictions = []
        while self._next_start + size <= self._dropped + self._filled:
            start = self._next_start - self._dropped
            frames = self._frames[start : start + size]
            predictions.append(self._predict(frames, self._next_start, size))
            self._next_start += self._hop_frames
        return predictions

    def _predict(self, frames: Float32, first: int, count: int) -> Prediction:
        spec = self._spec
        rate_hz = spec.sample_rate_hz
        span = (count - 1) * spec.hop_samples + spec.window_samples
        return self._classifier.prediction(
            self._classifier._probabilities(
                frames,
                self._adaptation,
                self._hop_frames * spec.hop_samples / rate_hz,
            ),
            first * spec.hop_samples / rate_hz,
            span / rate_hz,
        )
