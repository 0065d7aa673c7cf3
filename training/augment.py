"""Random windows of log-mel or MFCC frames, varied as voices and rooms vary.

All of it works on features, so that a whole batch costs milliseconds. Vocal-tract
length perturbation: Jaitly & Hinton 2013; SpecAugment: Park et al. 2019,
arXiv:1904.08779; mixup: Zhang et al. 2018, arXiv:1710.09412.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from edge_ser.errors import ConfigError
from edge_ser.features import FeatureSpec, model_input
from training.dataset import FeatureSet, silent_frame

Float32 = npt.NDArray[np.float32]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How strongly windows are varied; all zeros (the default) leaves them as is."""

    time_warp: float = 0.0
    """Tempo is drawn from 1 - x to 1 + x."""
    frequency_warp: float = 0.0
    """Spectrum stretched by 1 - x to 1 + x along the mel axis (log-mel only)."""
    gain_db: float = 0.0
    """Level is drawn from -x to +x dB."""
    noise_snr_db: tuple[float, float] | None = None
    """Half of the windows get stationary noise of a random spectral slope at an SNR
    drawn between these (log-mel only)."""
    time_masks: int = 0
    time_mask_frames: int = 0
    frequency_masks: int = 0
    frequency_mask_bands: int = 0
    mixup: float = 0.0
    """Alpha of the Beta distribution of mixing weights."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, (int, float)) and value < 0:
                raise ConfigError(f"{field.name} is {value}; valid: 0 and more")
        for name in ("time_warp", "frequency_warp"):
            if getattr(self, name) > 0.9:
                raise ConfigError(f"{name} is {getattr(self, name)}; valid: 0 to 0.9")
        if (
            self.noise_snr_db is not None
            and self.noise_snr_db[0] > self.noise_snr_db[1]
        ):
            raise ConfigError(f"noise_snr_db is {self.noise_snr_db}; valid: low, high")


class WindowSampler:
    """Draws one varied window a clip, in batches, from a seed."""

    def __init__(
        self, features: FeatureSet, augmentation: Augmentation, seed: int
    ) -> None:
        self.features = features
        self.augmentation = augmentation
        self.random = np.random.default_rng(seed)
        self._silence = silent_frame(features.spec)
        # How the power of stationary noise scatters from frame to frame.
        shape = (4096 + features.spec.frames_per_window, features.spec.n_static)
        self._wobble = np.log(self.random.gamma(4.0, 0.25, shape)).astype(np.float32)
        self._nats = {"ln": 1.0, "log10": 1 / np.log(10), "db": 10 / np.log(10)}[
            features.spec.log
        ]

    def windows(self, indices: npt.NDArray[np.int64]) -> Float32:
        """One window of static frames for each clip, (clips, frames, n_static)."""
        spec, augmentation = self.features.spec, self.augmentation
        windows = self._crops(indices)
        if spec.n_mfcc is None:
            windows = self._frequency_warp(windows)
            windows = self._gain(windows)
            if augmentation.noise_snr_db is not None:
                windows = self._noise(windows)
        return windows

    def _crops(self, indices: npt.NDArray[np.int64]) -> Float32:
        """Windows at random places and tempos; silence beyond a clip's ends."""
        features, count = self.features, len(indices)
        frames = features.spec.frames_per_window
        warp = self.augmentation.time_warp
        tempo = self.random.uniform(1 - warp, 1 + warp, (count, 1))
        length = np.diff(features.offsets)[indices][:, None]
        slack = length - frames * tempo
        # slack >= 0: anywhere inside the clip; < 0: the clip anywhere in the window
        start = self.random.uniform(0, 1, (count, 1)) * slack
        position = start + np.arange(frames) * tempo
        below = np.floor(position).astype(np.int64)
        weight = (position - below).astype(np.float32)[:, :, None]
        first = features.offsets[indices][:, None]

        def take(index: npt.NDArray[np.int64]) -> Float32:
            inside = (index >= 0) & (index < length)
            rows = features.frames[first + np.clip(index, 0, length - 1)]
            return np.where(inside[:, :, None], rows, self._silence)

        if not warp:
            return take(below)
        return take(below) * (1 - weight) + take(below + 1) * weight

    def _frequency_warp(self, windows: Float32) -> Float32:
        warp = self.augmentation.frequency_warp
        if not warp:
            return windows
        bands = windows.shape[2]
        scale = self.random.uniform(1 - warp, 1 + warp, (len(windows), 1))
        position = np.clip(np.arange(bands) * scale, 0, bands - 1.001)
        below = np.floor(position).astype(np.int64)
        weight = (position - below).astype(np.float32)[:, None, :]
        rows = np.arange(len(windows))[:, None, None]
        steps = np.arange(windows.shape[1])[None, :, None]
        lower = windows[rows, steps, below[:, None, :]]
        upper = windows[rows, steps, below[:, None, :] + 1]
        return np.asarray(lower * (1 - weight) + upper * weight, np.float32)

    def _gain(self, windows: Float32) -> Float32:
        limit = self.augmentation.gain_db
        gain_db = self.random.uniform(-limit, limit, (len(windows), 1, 1))
        shift = gain_db * np.log(10) / 10 * self._nats
        return np.maximum(windows + shift.astype(np.float32), self._silence)

    def _noise(self, windows: Float32) -> Float32:
        """Adds power to power: speech and noise are uncorrelated on average."""
        assert self.augmentation.noise_snr_db is not None
        low, high = self.augmentation.noise_snr_db
        chosen = np.flatnonzero(self.random.random(len(windows)) < 0.5)
        count, (frames, bands) = len(chosen), windows.shape[1:]
        nats = windows[chosen] / np.float32(self._nats)
        loud = np.quantile(nats.mean(2), 0.9, axis=1)[:, None, None]
        snr = self.random.uniform(low, high, (count, 1, 1)) * np.log(10) / 10
        slope = self.random.uniform(-2, 2, (count, 1, 1))
        colour = loud - snr + slope * np.linspace(1, -1, bands)
        start = self.random.integers(0, len(self._wobble) - frames, count)
        noise = self._wobble[start[:, None] + np.arange(frames)]
        noise += colour.astype(np.float32)
        # log(exp(a) + exp(b)), a third of the time of numpy.logaddexp
        noisy = np.log1p(np.exp(-np.abs(nats - noise))) + np.maximum(nats, noise)
        result = windows.copy()
        result[chosen] = noisy * np.float32(self._nats)
        return result

    def mask(self, inputs: Float32) -> Float32:
        """SpecAugment on model inputs: stripes replaced by the window's mean."""
        augmentation = self.augmentation
        count, frames, bands = inputs.shape
        fill = inputs.mean((1, 2), keepdims=True)
        for number, widest, size, axis in (
            (augmentation.time_masks, augmentation.time_mask_frames, frames, 1),
            (
                augmentation.frequency_masks,
                augmentation.frequency_mask_bands,
                bands,
                2,
            ),
        ):
            for _ in range(number):
                width = self.random.integers(0, widest + 1, (count, 1))
                start = self.random.integers(0, size, (count, 1))
                line = np.arange(size)
                masked = (line >= start) & (line < start + width)
                shape = (count, size, 1) if axis == 1 else (count, 1, size)
                inputs = np.where(masked.reshape(shape), fill, inputs)
        return inputs

    def mix(self, inputs: Float32, targets: Float32) -> tuple[Float32, Float32]:
        """Mixup: each window and target with another of the batch."""
        alpha = self.augmentation.mixup
        if not alpha:
            return inputs, targets
        weight = self.random.beta(alpha, alpha, len(inputs)).astype(np.float32)
        weight = np.maximum(weight, 1 - weight)
        other = self.random.permutation(len(inputs))
        window = weight[:, None, None]
        target = weight[:, None]
        return (
            inputs * window + inputs[other] * (1 - window),
            targets * target + targets[other] * (1 - target),
        )


def model_inputs(windows: Float32, spec: FeatureSpec) -> Float32:
    """`edge_ser.features.model_input` of every window of a batch."""
    return np.stack([model_input(window, spec) for window in windows])
