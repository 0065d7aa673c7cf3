"""Clips as frames in memory, and what is made of them."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from edge_ser import dsp
from edge_ser.features import FeatureSpec, static_features
from training.corpora import Clip
from training.errors import CorpusError

Float32 = npt.NDArray[np.float32]


def read_clip(path: pathlib.Path, sample_rate_hz: int) -> Float32:
    """A recording as mono float32 in [-1, 1] at the wanted rate, shape (samples,).

    Channels are averaged; another rate is resampled with soxr's HQ filter.

    Raises:
        CorpusError: unreadable, empty or with NaN.
    """
    try:
        samples, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:  # whose own text names the path again
        why = error.error_string.rstrip(".")
        raise CorpusError(f"{path}: not readable as audio: {why}") from error
    except OSError as error:
        raise CorpusError(f"{path}: not readable: {error.strerror}") from error
    mono = samples.mean(1)
    if not len(mono) or not np.isfinite(mono).all():
        raise CorpusError(f"{path}: holds no audio, or NaN")
    if rate_hz != sample_rate_hz:
        mono = soxr.resample(mono, rate_hz, sample_rate_hz)
    return np.ascontiguousarray(mono, np.float32)


@dataclasses.dataclass(frozen=True)
class FeatureSet:
    """Frames of many clips, end to end in one array.

    ``frames[offsets[i]:offsets[i + 1]]`` are those of ``clips[i]``: log-mel even for
    a spec of MFCC (see `frame_spec`), so that they can be varied as voices and
    rooms vary; `coefficients` makes MFCC of them.
    """

    spec: FeatureSpec
    clips: tuple[Clip, ...]
    frames: Float32
    offsets: npt.NDArray[np.int64]
    copies: tuple[FeatureSet, ...] = ()
    """Varied versions of the same clips, for training alone."""
    noise: tuple[Float32, ...] = ()
    """Log-mel frames of noise recordings, each of shape (frames, n_mels)."""
    skip_bad: bool = False
    """Whether unreadable clips were left out."""
    samples: bool = False
    """Each frame is one sample of the recording: nothing is computed of it."""

    def clip_frames(self, index: int) -> Float32:
        """Frames of one clip, shape (frames, bands)."""
        return self.frames[self.offsets[index] : self.offsets[index + 1]]

    def subset(self, keep: Sequence[int]) -> FeatureSet:
        """The set of the clips at the given positions, in that order."""
        parts = [self.clip_frames(index) for index in keep]
        lengths = [len(part) for part in parts]
        return FeatureSet(
            self.spec,
            tuple(self.clips[index] for index in keep),
            np.concatenate(parts) if parts else self.frames[:0],
            np.cumsum([0, *lengths]),
            tuple(copy.subset(keep) for copy in self.copies),
            self.noise,
            self.skip_bad,
            self.samples,
        )

    def with_spec(self, spec: FeatureSpec) -> FeatureSet:
        """The same frames under a spec that differs only in what windows get."""
        return dataclasses.replace(self, spec=spec)

    def silent_frame(self) -> Float32:
        """A frame of digital silence, which pads a short clip."""
        return np.zeros(1, np.float32) if self.samples else silent_frame(self.spec)


def frame_spec(spec: FeatureSpec) -> FeatureSpec:
    """The spec of a FeatureSet's frames, of all that comes later made free.

    Log-mel, except where MFCC cannot be computed from it (a log energy in place of the
    first coefficient).
    """
    from_mels = spec.first_coefficient == "dct"
    return dataclasses.replace(
        spec,
        n_mfcc=None if from_mels else spec.n_mfcc,
        liftering=0.0 if from_mels else spec.liftering,
        dct_norm="ortho" if from_mels else spec.dct_norm,
        deltas=0,
        normalisation="none",
        mean=None,
        std=None,
        frames_per_window=FeatureSpec.frames_per_window,
    )


def coefficients(frames: Float32, spec: FeatureSpec) -> Float32:
    """What the spec asks for, of a FeatureSet's frames: shape (..., n_static)."""
    if spec.n_mfcc is None or frame_spec(spec).n_mfcc is not None:
        return frames
    return np.asarray(frames @ _cepstrum(spec), np.float32)


@functools.lru_cache(maxsize=8)
def _cepstrum(spec: FeatureSpec) -> Float32:
    assert spec.n_mfcc is not None
    matrix = dsp.dct_matrix(spec.n_mels, spec.n_mfcc, spec.dct_norm)
    return (matrix * dsp.lifter_weights(spec.n_mfcc, spec.liftering)).astype(np.float32)


def silent_frame(spec: FeatureSpec) -> Float32:
    """A FeatureSet's frame of digital silence, which pads a short clip."""
    zeros = np.zeros(spec.window_samples, np.float32)
    return static_features(zeros, frame_spec(spec))[0]


def window_starts(n_frames: int, window_frames: int, hop_frames: int) -> list[int]:
    """First frames of a clip's windows: every hop, and one that ends with the clip."""
    last = max(0, n_frames - window_frames)
    starts = list(range(0, last + 1, hop_frames))
    if starts[-1] != last:
        starts.append(last)
    return starts


def stored_statistics(features: FeatureSet) -> tuple[Float32, Float32]:
    """Mean and standard deviation by coefficient, each clip with the same weight."""
    frames = coefficients(features.frames, features.spec)
    lengths = np.diff(features.offsets)
    weights = np.repeat(1.0 / lengths, lengths) / len(lengths)
    mean = weights @ frames
    variance = weights @ (frames - mean) ** 2
    return mean.astype(np.float32), np.sqrt(variance).astype(np.float32)
