"""What a model hears: FeatureSpec, log-mel and MFCC of a clip, and of a stream.

Frames are computed in blocks that stay in the processor's cache: one rfft over all
frames of a long clip spends most of its time on page faults of fresh large buffers.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_ser import dsp
from edge_ser.errors import AudioError, ConfigError

Float32 = npt.NDArray[np.float32]

_FRAMES_PER_BLOCK = 50
# numpy < 2 computes every rfft in float64: handing it float32 only adds a conversion.
_RFFT_DTYPE: type[np.floating[Any]] = (
    np.float32 if int(np.__version__.split(".")[0]) >= 2 else np.float64
)

_CHOICES = {
    "window": ("hann", "hamming", "hamming_symmetric", "rectangular"),
    "padding": ("none", "center", "end"),
    "mel_scale": ("htk", "slaney"),
    "mel_norm": ("none", "area"),
    "mel_edges": ("exact", "bins"),
    "power_scale": ("none", "n_fft"),
    "log": ("ln", "log10", "db"),
    "dct_norm": ("none", "ortho"),
    "first_coefficient": ("dct", "log_energy"),
    "normalisation": ("none", "window", "window_level", "stored"),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class FeatureSpec:
    """The complete definition of a model's input, stored in its bundle.

    Two equal specs give equal features on every machine (within 1e-3 of their scale).

    Raises:
        ConfigError: a field is out of range; the message names it.

    >>> spec = FeatureSpec()
    >>> spec.window_samples, spec.hop_samples, spec.n_mfcc
    (400, 160, 40)
    """

    sample_rate_hz: int = 16000
    window_ms: float = 25.0
    """Length of one frame."""
    hop_ms: float = 10.0
    """Step between frames."""
    window: str = "hann"
    """Taper of a frame, see `dsp.window_function`."""
    padding: str = "none"
    """``none``: whole frames only (the one choice for streams); ``center``: half a
    window of zeros at both ends, as librosa; ``end``: zeros complete the last frame,
    as python_speech_features."""
    n_fft: int = 512
    n_mels: int = 64
    f_min_hz: float = 20.0
    f_max_hz: float = 8000.0
    mel_scale: str = "htk"
    mel_norm: str = "none"
    mel_edges: str = "exact"
    power_scale: str = "none"
    """``n_fft`` divides the power spectrum by n_fft, as python_speech_features."""
    log: str = "ln"
    log_floor: float = 1e-6
    """Least power of a band before the logarithm. The default lies 18 dB under quiet
    speech of 16-bit recordings, so that digital silence is no outlier."""
    top_db: float | None = None
    """Clip what lies this far below the clip's maximum (needs the whole clip)."""
    n_mfcc: int | None = 40
    """Cepstral coefficients; None stops one step earlier, at log-mel."""
    dct_norm: str = "ortho"
    first_coefficient: str = "dct"
    """``log_energy`` puts the frame's log energy in place of coefficient 0."""
    pre_emphasis: float = 0.0
    liftering: float = 0.0
    deltas: int = 0
    """0, 1 (slopes) or 2 (slopes of slopes), appended to each frame of a window."""
    normalisation: str = "none"
    """Of a model's input: ``none``; ``window``: mean 0 and variance 1 of each
    coefficient over the window; ``window_level``: the window's overall mean removed;
    ``stored``: `mean` and `std` of the training set, which training fills in."""
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    frames_per_window: int = 256
    """Frames in one model input."""

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                self._refuse(name, f"one of {', '.join(choices)}")
        if not 1000 <= self.sample_rate_hz <= 768000:
            self._refuse("sample_rate_hz", "1000 to 768000")
        if not 0 < self.window_ms <= 1000 or self.window_samples < 2:
            self._refuse("window_ms", "at least two samples and at most 1000 ms")
        if not 1 <= self.hop_samples <= self.window_samples:
            self._refuse("hop_ms", "at least one sample and at most window_ms")
        if not self.window_samples <= self.n_fft <= 1 << 16:
            self._refuse("n_fft", f"{self.window_samples} (the window) to 65536")
        if not 1 <= self.n_mels <= 512:
            self._refuse("n_mels", "1 to 512")
        if not 0 <= self.f_min_hz < self.f_max_hz <= self.sample_rate_hz / 2:
            self._refuse("f_max_hz", "f_min_hz < f_max_hz <= half the sample rate")
        if not 0 < self.log_floor < 1:
            self._refuse("log_floor", "above 0 and below 1")
        if self.n_mfcc is not None and not 1 <= self.n_mfcc <= self.n_mels:
            self._refuse("n_mfcc", f"1 to n_mels ({self.n_mels}), or None")
        if not 0 <= self.pre_emphasis < 1:
            self._refuse("pre_emphasis", "0 to below 1")
        if self.deltas not in (0, 1, 2):
            self._refuse("deltas", "0, 1 or 2")
        if not 1 <= self.frames_per_window <= 100_000:
            self._refuse("frames_per_window", "1 to 100000")
        for name in ("mean", "std"):
            values = getattr(self, name)
            if values is not None and len(values) != self.n_features:
                self._refuse(name, f"{self.n_features} values, one a coefficient")
        if self.std is not None and min(self.std) <= 0:
            self._refuse("std", "values above 0")

    def _refuse(self, name: str, valid: str) -> None:
        raise ConfigError(
            f"FeatureSpec: {name} is {getattr(self, name)!r}; valid: {valid}"
        )

    @property
    def window_samples(self) -> int:
        """Samples in one frame."""
        return round(self.window_ms * self.sample_rate_hz / 1000)

    @property
    def hop_samples(self) -> int:
        """Samples from one frame to the next."""
        return round(self.hop_ms * self.sample_rate_hz / 1000)

    @property
    def n_static(self) -> int:
        """Coefficients of one frame before deltas."""
        return self.n_mels if self.n_mfcc is None else self.n_mfcc

    @property
    def n_features(self) -> int:
        """Columns of a model's input."""
        return self.n_static * (1 + self.deltas)

    @property
    def model_samples(self) -> int:
        """Samples that one model input spans."""
        return (self.frames_per_window - 1) * self.hop_samples + self.window_samples

    @property
    def streams(self) -> bool:
        """Whether frames can be computed without knowing the whole clip."""
        return self.padding == "none" and self.top_db is None

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values; `from_dict` reads them back."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> FeatureSpec:
        """The spec that `to_dict` wrote.

        Raises:
            ConfigError: an unknown field, or a value of the wrong type or range.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        for name in values:
            if name not in known:
                raise ConfigError(f"FeatureSpec: unknown field {name!r}")
        tuples = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in values.items()
        }
        try:
            return cls(**tuples)
        except (TypeError, AttributeError) as error:
            raise ConfigError(f"FeatureSpec: a value of wrong type: {error}") from error


class _FrontEnd:
    """The tables of one spec, and the loop over blocks of frames.

    Holds nothing that changes, so any number of threads may share one.
    """

    def __init__(self, spec: FeatureSpec) -> None:
        self.spec = spec
        window = dsp.window_function(spec.window, spec.window_samples)
        if spec.power_scale == "n_fft":
            window = window / np.sqrt(spec.n_fft)
        self.window = window.astype(_RFFT_DTYPE)
        self.bank = dsp.mel_filter_bank(
            sample_rate_hz=spec.sample_rate_hz,
            n_fft=spec.n_fft,
            n_mels=spec.n_mels,
            f_min_hz=spec.f_min_hz,
            f_max_hz=spec.f_max_hz,
            scale=spec.mel_scale,
            norm=spec.mel_norm,
            edges=spec.mel_edges,
        ).astype(np.float32)
        self.dct = None
        if spec.n_mfcc is not None:
            dct = dsp.dct_matrix(spec.n_mels, spec.n_mfcc, spec.dct_norm)
            lifter = dsp.lifter_weights(spec.n_mfcc, spec.liftering)
            self.dct = (dct * lifter).astype(np.float32)

    def frames(self, samples: Float32, *, cepstra: bool) -> Float32:
        """Static features of every whole frame, shape (frames, coefficients)."""
        spec = self.spec
        view = dsp.frame_view(samples, spec.window_samples, spec.hop_samples)
        n_bins = spec.n_fft // 2 + 1
        mels = np.empty((len(view), spec.n_mels), np.float32)
        energy = np.empty(len(view), np.float32)
        block = np.zeros((_FRAMES_PER_BLOCK, spec.n_fft), _RFFT_DTYPE)
        power = np.empty((_FRAMES_PER_BLOCK, n_bins), np.float32)
        square = np.empty_like(power)
        for start in range(0, len(view), _FRAMES_PER_BLOCK):
            part = view[start : start + _FRAMES_PER_BLOCK]
            rows = len(part)
            np.multiply(part, self.window, out=block[:rows, : spec.window_samples])
            spectrum = np.fft.rfft(block[:rows])
            real, imag = spectrum.real, spectrum.imag
            np.multiply(real, real, out=power[:rows], casting="same_kind")
            np.multiply(imag, imag, out=square[:rows], casting="same_kind")
            power[:rows] += square[:rows]
            np.matmul(power[:rows], self.bank, out=mels[start : start + rows])
            if spec.first_coefficient == "log_energy":
                energy[start : start + rows] = power[:rows].sum(1)
        logs = dsp.log_compress(mels, spec.log, spec.log_floor)
        if spec.top_db is not None and logs.size:
            decades = {"ln": np.log(10) / 10, "log10": 0.1, "db": 1.0}[spec.log]
            logs = np.maximum(logs, logs.max() - np.float32(spec.top_db * decades))
        if not cepstra or self.dct is None:
            return logs
        coefficients: Float32 = logs @ self.dct
        if spec.first_coefficient == "log_energy":
            coefficients[:, 0] = dsp.log_compress(energy, spec.log, spec.log_floor)
        return coefficients


@functools.lru_cache(maxsize=16)
def _front_end(spec: FeatureSpec) -> _FrontEnd:
    return _FrontEnd(spec)


def check_samples(samples: npt.ArrayLike) -> Float32:
    """Mono float32 samples in [-1, 1], from floats or int16 PCM; the one input check.

    Args:
        samples: shape (samples,), floating point (full scale 1.0) or int16.

    Raises:
        AudioError: not one-dimensional, of another type, or with NaN or infinity.
    """
    array = np.asarray(samples)
    if array.ndim != 1:
        raise AudioError(
            f"samples have shape {array.shape}; valid: one dimension (mono); "
            "average or choose a channel first"
        )
    if array.dtype == np.int16:
        return array.astype(np.float32) * np.float32(1 / 32768)
    if not np.issubdtype(array.dtype, np.floating):
        raise AudioError(f"samples are {array.dtype}; valid: float32 or int16")
    # One pass without a temporary array: a sum is finite if and only if all terms are
    # (finite float32 audio cannot overflow a float64 sum).
    if array.size and not np.isfinite(array.sum(dtype=np.float64)):
        bad = int(np.flatnonzero(~np.isfinite(array))[0])
        raise AudioError(f"samples hold NaN or infinity, first at sample {bad}")
    return np.ascontiguousarray(array, np.float32)


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
    return _front_end(spec).frames(signal, cepstra=cepstra)


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

    The frames are the same whatever the block sizes, and equal to those of the whole
    clip up to the rounding of float32. One stream belongs to one thread at a time.

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
        self._front_end = _front_end(spec)
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
