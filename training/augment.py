"""Random windows of log-mel frames, varied as voices and rooms vary.

All of it works on features, so that a whole batch costs milliseconds. Vocal-tract
length perturbation: Jaitly & Hinton 2013; SpecAugment: Park et al. 2019,
arXiv:1904.08779; mixup: Zhang et al. 2018, arXiv:1710.09412.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_ser.errors import ConfigError
from edge_ser.features import FeatureSpec, model_input
from training.dataset import FeatureSet, coefficients, frame_spec

Float32 = npt.NDArray[np.float32]

_LOOKS = (1.0, 6.0)
"""Components that interfere in the lowest and the highest band. With these, loud frames
of RAVDESS's clips change from one to the next by as many dB as they do in four recorded
rooms of 0.35 to 0.8 s: 3 to 4.5."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How strongly windows are varied; all zeros (the default) leaves them as is."""

    time_warp: float = 0.0
    """Tempo is drawn from 1 - x to 1 + x."""
    frequency_warp: float = 0.0
    """Spectrum stretched by 1 - x to 1 + x along the mel axis: vocal tracts of
    another length."""
    gain_db: float = 0.0
    """Level is drawn from -x to +x dB."""
    noise_snr_db: tuple[float, float] | None = None
    """Half of the windows get noise at an SNR drawn between these: stationary, of a
    random spectral slope, or that of `noise_folder`."""
    noise_folder: str = ""
    """Recordings to draw the noise from, see `training.recordings`."""
    reverberation: float = 0.0
    """Share of the windows that are heard in a room: each band's power decays
    exponentially after the direct sound (Polack 1988's model; Lebart et al. 2001)."""
    reverberation_s: tuple[float, float] = (0.15, 1.0)
    """Reverberation times (60 dB) to draw from, at low frequencies."""
    direct_to_reverberant_db: tuple[float, float] = (-3.0, 12.0)
    """Direct to reverberant energy ratios to draw from: how far the speaker stands."""
    interference: bool = False
    """Echoes and noise add to the direct sound as waves do, not as powers do: what a
    band gets of both at once rises and falls by twice the root of their product."""
    equaliser_db: float = 0.0
    """Smooth gains over frequency from -x to +x dB: microphones, rooms, houses."""
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
        if self.reverberation > 1:
            raise ConfigError(
                f"reverberation is {self.reverberation}; valid: 0 to 1, a share"
            )
        if self.reverberation_s[0] <= 0:
            raise ConfigError(
                f"reverberation_s is {self.reverberation_s}; valid: above 0"
            )
        for name in ("noise_snr_db", "reverberation_s", "direct_to_reverberant_db"):
            limits = getattr(self, name)
            if limits is not None and limits[0] > limits[1]:
                raise ConfigError(f"{name} is {limits}; valid: low, high")
        if self.noise_folder and self.noise_snr_db is None:
            raise ConfigError("noise_folder needs noise_snr_db")


class WindowSampler:
    """Draws one varied window a clip, in batches, from a seed."""

    def __init__(
        self, features: FeatureSet, augmentation: Augmentation, seed: int
    ) -> None:
        self.features = features
        self.augmentation = augmentation
        self.random = np.random.default_rng(seed)
        self._silence = features.silent_frame()
        # Every version of every clip, end to end.
        versions = (features, *features.copies)
        self._frames = np.concatenate([v.frames for v in versions])
        ends = np.cumsum([0, *(len(v.frames) for v in versions)])
        self._first = np.stack(
            [v.offsets[:-1] + end for v, end in zip(versions, ends, strict=False)]
        )
        self._lengths = np.stack([np.diff(v.offsets) for v in versions])
        self._has_mels = (
            not features.samples and frame_spec(features.spec).n_mfcc is None
        )
        if not self._has_mels and (
            augmentation.noise_snr_db
            or augmentation.frequency_warp
            or augmentation.gain_db
            or augmentation.reverberation
            or augmentation.equaliser_db
        ):
            raise ConfigError(
                "gain, frequency warp, equaliser, reverberation and noise vary log-mel "
                "frames; valid: 0 of them for a network that takes samples, or for "
                "MFCC whose first_coefficient is not 'dct'"
            )
        # How the power of stationary noise scatters from frame to frame.
        shape = (4096 + features.spec.frames_per_window, features.spec.n_mels)
        looks = np.full(shape[1], 4.0)
        if augmentation.interference:
            looks = np.linspace(*_LOOKS, shape[1])
        scatter = self.random.gamma(looks, 1 / looks, shape)
        self._wobble = np.log(scatter).astype(np.float32)
        if augmentation.interference:
            # A sum of cosines of any phases is nearly normal.
            cosines = self.random.standard_normal(shape) / np.sqrt(2 * looks)
            self._cosines = cosines.astype(np.float32)
        self._nats = {"ln": 1.0, "log10": 1 / np.log(10), "db": 10 / np.log(10)}[
            features.spec.log
        ]

    def windows(self, indices: npt.NDArray[np.int64]) -> Float32:
        """One window of frames for each clip, (clips, frames, bands)."""
        windows = self._crops(indices)
        if self._has_mels:
            windows = self._frequency_warp(windows)
            windows = self._reverberation(windows)
            windows = self._gain(windows)
            if self.augmentation.noise_snr_db is not None:
                windows = self._noise(windows)
        return windows

    def _crops(self, indices: npt.NDArray[np.int64]) -> Float32:
        """Windows at random places and tempos; silence beyond a clip's ends."""
        count, frames = len(indices), self.features.spec.frames_per_window
        version = np.zeros(count, np.int64)
        if len(self._first) > 1:
            version = self.random.integers(len(self._first), size=count)
        warp = self.augmentation.time_warp
        tempo = self.random.uniform(1 - warp, 1 + warp, (count, 1))
        length = self._lengths[version, indices][:, None]
        slack = length - frames * tempo
        # slack >= 0: anywhere inside the clip; < 0: the clip anywhere in the window
        start = self.random.uniform(0, 1, (count, 1)) * slack
        position = start + np.arange(frames) * tempo
        below = np.floor(position).astype(np.int64)
        weight = (position - below).astype(np.float32)[:, :, None]
        first = self._first[version, indices][:, None]

        def take(index: npt.NDArray[np.int64]) -> Float32:
            inside = (index >= 0) & (index < length)
            rows = self._frames[first + np.clip(index, 0, length - 1)]
            return np.where(inside[:, :, None], rows, self._silence)

        if not warp:
            return take(below)
        return take(below) * (1 - weight) + take(below + 1) * weight

    def _frequency_warp(self, windows: Float32) -> Float32:
        warp = self.augmentation.frequency_warp
        if not warp:
            return windows
        count, _, bands = windows.shape
        scale = self.random.uniform(1 - warp, 1 + warp, (count, 1))
        position = np.clip(np.arange(bands) * scale, 0, bands - 1.001)
        below = np.floor(position).astype(np.int64)
        weight = position - below
        # Interpolation as a matrix a window: three times as fast as picking bands.
        rows, columns = np.arange(count)[:, None], np.arange(bands)
        matrix = np.zeros((count, bands, bands), np.float32)
        matrix[rows, below, columns] = 1 - weight
        matrix[rows, below + 1, columns] = weight
        return np.asarray(windows @ matrix)

    def _reverberation(self, windows: Float32) -> Float32:
        """Some windows as heard in a room, their mean power as before.

        A room's late part is taken for exponentially decaying noise, so that a band's
        power is the direct sound's plus a decaying sum of the powers before it; high
        frequencies decay up to twice as fast.
        """
        augmentation = self.augmentation
        if not augmentation.reverberation:
            return windows
        drawn = self.random.random(len(windows)) < augmentation.reverberation
        chosen = np.flatnonzero(drawn)
        count, frames, bands = windows[chosen].shape
        power = np.exp(windows[chosen] / np.float32(self._nats))
        seconds = self.random.uniform(*augmentation.reverberation_s, (count, 1))
        seconds = seconds * np.linspace(
            1, self.random.uniform(0.5, 1, count), bands, axis=1
        )
        hop_s = self.features.spec.hop_samples / self.features.spec.sample_rate_hz
        kept = (10 ** (-6 * hop_s / seconds)).astype(np.float32)
        ratio_db = self.random.uniform(
            *augmentation.direct_to_reverberant_db, (count, 1)
        )
        # The late part's energy: the sum over t of kept ** t from 1 on is 1 / ratio.
        share = (10 ** (-ratio_db / 10) * (1 - kept) / kept).astype(np.float32)
        start = self.random.integers(0, len(self._wobble) - frames, count)
        late = np.empty_like(power)
        tail = np.zeros((count, bands), np.float32)
        for frame in range(frames):
            late[:, frame] = tail
            tail = (tail + power[:, frame]) * kept
        late *= share[:, None]
        late *= np.exp(self._wobble[start[:, None] + np.arange(frames)])
        heard = self._at_once(power, late)
        heard *= power.mean((1, 2), keepdims=True) / heard.mean((1, 2), keepdims=True)
        result = windows.copy()
        result[chosen] = np.log(heard) * np.float32(self._nats)
        return result

    def _at_once(self, power: Float32, other: Float32) -> Float32:
        """The power of two sounds together, both (windows, frames, bands).

        ``|a + b|**2 = |a|**2 + |b|**2 + 2 |a| |b| cos(phase)``, where the phase is
        any; a band's sum over several components averages the cosine.
        """
        total = power + other
        if self.augmentation.interference:
            count, frames, _ = total.shape
            start = self.random.integers(0, len(self._cosines) - frames, count)
            cosines = self._cosines[start[:, None] + np.arange(frames)]
            # Where all cancel, the logarithm still needs something.
            least = np.float32(0.01) * total
            total += 2 * np.sqrt(power * other) * cosines
            np.maximum(total, least, out=total)
        return np.asarray(total)

    def _equaliser(self, count: int) -> npt.NDArray[Any]:
        """Gains in dB, shape (count, 1, bands), straight between five points."""
        limit, bands = self.augmentation.equaliser_db, self.features.spec.n_mels
        gains = self.random.uniform(-limit, limit, (count, 5))
        place = np.linspace(0, 4, bands)
        below = np.minimum(place.astype(int), 3)
        weight = place - below
        gains = gains[:, below] * (1 - weight) + gains[:, below + 1] * weight
        return np.asarray(gains[:, None, :])

    def _gain(self, windows: Float32) -> Float32:
        limit = self.augmentation.gain_db
        gain_db = self.random.uniform(-limit, limit, (len(windows), 1, 1))
        if self.augmentation.equaliser_db:
            gain_db = gain_db + self._equaliser(len(windows))
        shift = gain_db * np.log(10) / 10 * self._nats
        return np.maximum(windows + shift.astype(np.float32), self._silence)

    def _noise(self, windows: Float32) -> Float32:
        """Adds power to power: speech and noise are uncorrelated on average."""
        assert self.augmentation.noise_snr_db is not None
        low, high = self.augmentation.noise_snr_db
        chosen = np.flatnonzero(self.random.random(len(windows)) < 0.5)
        count = len(chosen)
        nats = windows[chosen] / np.float32(self._nats)
        snr = self.random.uniform(low, high, (count, 1, 1)) * np.log(10) / 10
        if self.features.noise:
            noise = self._recorded_noise(nats, snr)
        else:
            noise = self._stationary_noise(nats, snr)
        if self.augmentation.interference:
            noisy = np.log(self._at_once(np.exp(nats), np.exp(noise)))
        else:
            # log(exp(a) + exp(b)), a third of the time of numpy.logaddexp
            noisy = np.log1p(np.exp(-np.abs(nats - noise))) + np.maximum(nats, noise)
        result = windows.copy()
        result[chosen] = noisy * np.float32(self._nats)
        return result

    def _stationary_noise(self, nats: Float32, snr: npt.NDArray[Any]) -> Float32:
        """Noise of a random spectral slope, as log power."""
        count, frames, bands = nats.shape
        loud = np.quantile(nats.mean(2), 0.9, axis=1)[:, None, None]
        slope = self.random.uniform(-2, 2, (count, 1, 1))
        colour = loud - snr + slope * np.linspace(1, -1, bands)
        start = self.random.integers(0, len(self._wobble) - frames, count)
        noise = self._wobble[start[:, None] + np.arange(frames)]
        noise += colour.astype(np.float32)
        return noise

    def _recorded_noise(self, nats: Float32, snr: npt.NDArray[Any]) -> Float32:
        """A part of a noise recording for each window, as log power.

        The SNR is that of the speech's loud parts (90th percentile of the frames'
        power) to the noise's mean power.
        """
        parts = []
        for _ in range(len(nats)):
            recording = self.features.noise[
                self.random.integers(len(self.features.noise))
            ]
            start = self.random.integers(len(recording))
            lines = (start + np.arange(nats.shape[1])) % len(recording)
            parts.append(recording[lines] / np.float32(self._nats))
        noise = np.stack(parts)
        speech = np.quantile(np.exp(nats).sum(2), 0.9, axis=1)
        level = np.log(speech / np.exp(noise).sum(2).mean(1))[:, None, None] - snr
        return np.asarray(noise + level, np.float32)

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
    """Model inputs of a batch of windows of a FeatureSet's frames."""
    return np.stack([model_input(w, spec) for w in coefficients(windows, spec)])
