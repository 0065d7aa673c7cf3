"""What a model hears: log-mel and MFCC of a clip, and of a stream."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_ser import dsp
from edge_ser.errors import ConfigError
from edge_ser.front_end import front_end
from edge_ser.samples import check_samples
from edge_ser.spec import FeatureSpec

__all__ = [
    "FeatureSpec",
    "FeatureStream",
    "check_samples",
    "log_mel",
    "mfcc",
    "model_input",
    "static_features",
]

Float32 = npt.NDArray[np.float32]


def log_mel(samples: npt.ArrayLike, spec: FeatureSpec) -> Float32:
    """Log-mel spectrum of a whole clip.

    Args:
        samples: mono PCM at ``spec.sample_rate_hz``, shape (samples,), float in
            [-1, 1] or int16.

    Returns:
        Shape (frames, n_mels), float32, before deltas and normalisation.

    Raises:
        AudioError: see `check_samples`.

    >>> log_mel(np.zeros(16000, np.float32), FeatureSpec()).shape
    (98, 64)
    """
    return _clip_frames(samples, spec, cepstra=False)


def mfcc(samples: npt.ArrayLike, spec: FeatureSpec) -> Float32:
    """Mel-frequency cepstral coefficients of a whole clip [DM80, see `dsp`].

    Args:
        samples: as for `log_mel`.

    Returns:
        Shape (frames, n_mfcc), float32, before deltas and normalisation.

    Raises:
        AudioError: see `check_samples`.
        ConfigError: the spec stops at log-mel (``n_mfcc`` is None).

    >>> mfcc(np.zeros(16000, np.float32), FeatureSpec()).shape
    (98, 40)
    """
    if spec.n_mfcc is None:
        raise ConfigError("FeatureSpec.n_mfcc is None: this spec stops at log-mel")
    return _clip_frames(samples, spec, cepstra=True)


def static_features(samples: npt.ArrayLike, spec: FeatureSpec) -> Float32:
    """What the spec asks for, MFCC or log-mel, before deltas and normalisation.

    Shape (frames, spec.n_static), float32. Raises as `log_mel`.
    """
    return _clip_frames(samples, spec, cepstra=spec.n_mfcc is not None)


def _clip_frames(
    samples: npt.ArrayLike, spec: FeatureSpec, *, cepstra: bool
) -> Float32:
    signal: Any = check_samples(samples)
    if spec.pre_emphasis and len(signal):
        signal = dsp.pre_emphasis(signal, spec.pre_emphasis)
    if spec.padding == "center":
        signal = np.pad(signal, spec.window_samples // 2)
    elif spec.padding == "end":
        beyond = max(0, len(signal) - spec.window_samples)
        whole = -(-beyond // spec.hop_samples) * spec.hop_samples + spec.window_samples
        signal = np.pad(signal, (0, whole - len(signal)))
    return front_end(spec).frames(signal, cepstra=cepstra)


def model_input(frames: Float32, spec: FeatureSpec) -> Float32:
    """One window of static frames, with deltas and normalisation: a model's input.

    Args:
        frames: shape (frames_per_window, n_static), float32.

    Returns:
        Shape (frames_per_window, n_features), float32.

    Raises:
        ConfigError: the shape is another one.
    """
    if frames.shape != (spec.frames_per_window, spec.n_static):
        raise ConfigError(
            f"a window has shape {frames.shape}; "
            f"valid: {(spec.frames_per_window, spec.n_static)}"
        )
    parts: list[Any] = [frames]
    for _ in range(spec.deltas):
        parts.append(dsp.deltas(parts[-1]))
    full = np.concatenate(parts, 1) if spec.deltas else frames
    if spec.normalisation == "window":
        std = np.maximum(full.std(0), np.float32(1e-5))
        return np.asarray(dsp.standardise(full, full.mean(0), std), np.float32)
    if spec.normalisation == "window_mean":
        return np.asarray(full - full.mean(0), np.float32)
    if spec.normalisation == "window_level":
        return np.asarray(full - full.mean(), np.float32)
    if spec.normalisation == "stored":
        if spec.mean is None or spec.std is None:
            raise ConfigError("FeatureSpec: normalisation 'stored' without mean or std")
        mean, std = _stored_statistics(spec)
        return np.asarray(dsp.standardise(full, mean, std), np.float32)
    return full


@functools.lru_cache(maxsize=16)
def _stored_statistics(spec: FeatureSpec) -> tuple[Float32, Float32]:
    return np.array(spec.mean, np.float32), np.array(spec.std, np.float32)


class FeatureStream:
    """Static features of PCM that arrives in blocks of any size, each frame once.

    Whatever the block sizes, the frames equal those of the whole clip up to the
    rounding of float32 (`Stream` gives the same to the last bit). One stream belongs to
    one thread at a time.

    Raises:
        ConfigError: the spec needs the whole clip (padding or top_db).

    >>> stream = FeatureStream(FeatureSpec())
    >>> len(stream.push(np.zeros(399, np.float32)))
    0
    >>> stream.push(np.zeros(1, np.float32)).shape
    (1, 40)
    """

    def __init__(self, spec: FeatureSpec) -> None:
        if not spec.streams:
            raise ConfigError(
                "this FeatureSpec needs the whole clip (padding "
                f"{spec.padding!r}, top_db {spec.top_db}); valid for streams: "
                "padding 'none' and no top_db"
            )
        self.spec = spec
        self._front_end = front_end(spec)
        self.reset()

    def reset(self) -> None:
        """Forget the audio so far, as if the stream were new."""
        self._rest: Float32 = np.empty(0, np.float32)
        self._last_sample: np.float32 | None = None

    def push(self, block: npt.ArrayLike) -> Float32:
        """The frames that this block completes.

        Args:
            block: mono PCM of any length, float in [-1, 1] or int16.

        Returns:
            Shape (new frames, n_static), float32; often no frame at all.

        Raises:
            AudioError: see `check_samples`; the stream is as before the call.
        """
        spec = self.spec
        samples = check_samples(block)
        if spec.pre_emphasis and len(samples):
            emphasised = np.asarray(
                dsp.pre_emphasis(samples, spec.pre_emphasis), np.float32
            )
            if self._last_sample is not None:
                emphasised[0] -= np.float32(spec.pre_emphasis) * self._last_sample
            self._last_sample = samples[-1]
            samples = emphasised
        signal = np.concatenate([self._rest, samples]) if len(self._rest) else samples
        frames = self._front_end.frames(signal, cepstra=spec.n_mfcc is not None)
        # A copy: a view would keep the caller's whole block alive, and change with it.
        self._rest = signal[len(frames) * spec.hop_samples :].copy()
        return frames
