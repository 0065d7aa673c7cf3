"""FeatureSpec: the complete definition of what a model hears, stored in its bundle."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

from edge_ser.errors import ConfigError

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
    "normalisation": ("none", "window", "window_mean", "window_level", "stored"),
}


def is_integer(value: object) -> bool:
    """An int, and no bool."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: object) -> bool:
    """A finite int or float, and no bool."""
    try:
        return (
            isinstance(value, int | float)
            and not isinstance(value, bool)
            and math.isfinite(value)
        )
    except OverflowError:  # an int that no float holds
        return False


def brief(value: object) -> str:
    """A value for an error's one line."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # ints of thousands of digits, or too deep
        return "a huge value"
    return text if len(text) <= 60 else f"{text[:57]}..."


def _are_numbers(value: object) -> bool:
    return isinstance(value, tuple) and all(map(is_number, value))


# What a field of this declared type holds, and its name in errors. A card is JSON from
# elsewhere: Python itself checks none of these.
_TYPES: dict[Any, tuple[Callable[[Any], bool], str]] = {
    "str": (lambda value: isinstance(value, str), "text"),
    "int": (is_integer, "an integer"),
    "int | None": (
        lambda value: value is None or is_integer(value),
        "an integer, or None",
    ),
    "float": (is_number, "a finite number"),
    "float | None": (
        lambda value: value is None or is_number(value),
        "a finite number, or None",
    ),
    "tuple[float, ...] | None": (
        lambda value: value is None or _are_numbers(value),
        "finite numbers, or None",
    ),
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
    coefficient over the window; ``window_mean``: each coefficient's mean over the
    window removed, and with it what a microphone or line adds to its band (cepstral
    mean subtraction, Atal 1974); ``window_level``: the one mean of the whole window
    removed, its loudness; ``stored``: `mean` and `std` of the training set, which
    training fills in."""
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    frames_per_window: int = 256
    """Frames in one model input."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            is_valid, valid = _TYPES[field.type]
            if not is_valid(getattr(self, field.name)):
                self._refuse(field.name, valid)
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                self._refuse(name, f"one of {', '.join(choices)}")
        if not 1000 <= self.sample_rate_hz <= 768000:
            self._refuse("sample_rate_hz", "1000 to 768000")
        if not 0 < self.window_ms <= 1000 or self.window_samples < 2:
            self._refuse("window_ms", "at least two samples and at most 1000 ms")
        if (
            not 0 < self.hop_ms <= 1000
            or not 1 <= self.hop_samples <= self.window_samples
        ):
            self._refuse("hop_ms", "at least one sample and at most window_ms")
        if not self.window_samples <= self.n_fft <= 1 << 16:
            self._refuse("n_fft", f"{self.window_samples} (the window) to 65536")
        if not 1 <= self.n_mels <= 512:
            self._refuse("n_mels", "1 to 512")
        if not 0 <= self.f_min_hz < self.f_max_hz <= self.sample_rate_hz / 2:
            self._refuse("f_max_hz", "f_min_hz < f_max_hz <= half the sample rate")
        if not 1e-37 <= self.log_floor < 1:  # float32 has nothing smaller
            self._refuse("log_floor", "above 0 (1e-37) and below 1")
        if self.n_mfcc is not None and not 1 <= self.n_mfcc <= self.n_mels:
            self._refuse("n_mfcc", f"1 to n_mels ({self.n_mels}), or None")
        if not 0 <= self.pre_emphasis < 1:
            self._refuse("pre_emphasis", "0 to below 1")
        if self.top_db is not None and self.top_db < 0:
            self._refuse("top_db", "0 or more, or None")
        if self.deltas not in (0, 1, 2):
            self._refuse("deltas", "0, 1 or 2")
        if not 1 <= self.frames_per_window <= 100_000:
            self._refuse("frames_per_window", "1 to 100000")
        for name in ("mean", "std"):
            values = getattr(self, name)
            if values is not None and len(values) != self.n_features:
                self._refuse(name, f"{self.n_features} values, one a coefficient")
        # In float32, in which they are used, others are zero or infinite.
        if self.mean is not None and max(map(abs, self.mean)) > 1e30:
            self._refuse("mean", "-1e30 to 1e30")
        if self.std is not None and not 1e-30 <= min(self.std) <= max(self.std) <= 1e30:
            self._refuse("std", "values above 0 (1e-30 to 1e30)")
        if self.liftering > 0 and not 1 <= self.liftering <= 1e6:
            self._refuse("liftering", "0, or 1 to 1e6")

    def _refuse(self, name: str, valid: str) -> None:
        raise ConfigError(
            f"FeatureSpec: {name} is {brief(getattr(self, name))}; valid: {valid}"
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
        if not isinstance(values, dict):
            raise ConfigError(f"FeatureSpec: {brief(values)} is no object of fields")
        known = {field.name for field in dataclasses.fields(cls)}
        for name in values:
            if name not in known:
                raise ConfigError(f"FeatureSpec: unknown field {brief(name)}")
        tuples: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in values.items()
        }
        return cls(**tuples)

    @classmethod
    def librosa(
        cls,
        *,
        sample_rate_hz: int = 22050,
        n_mfcc: int | None = 20,
        n_fft: int = 2048,
        hop_length: int = 512,
        win_length: int | None = None,
        n_mels: int = 128,
        f_min_hz: float = 0.0,
        f_max_hz: float | None = None,
        center: bool = True,
        htk: bool = False,
        norm: str | None = "slaney",
        top_db: float | None = 80.0,
    ) -> FeatureSpec:
        """The spec whose `mfcc` is ``librosa.feature.mfcc``, with its defaults.

        Its `log_mel` is ``librosa.power_to_db(librosa.feature.melspectrogram(...))``.
        Both return the transpose of librosa's array. Streams need ``center=False`` and
        ``top_db=None``.

        Args:
            sample_rate_hz: librosa's ``sr``.
            hop_length, win_length, n_fft: in samples, as librosa has them.
            norm: ``slaney`` or None; librosa's numeric norms have no counterpart.

        Raises:
            ConfigError: a field is out of range.

        >>> FeatureSpec.librosa(sample_rate_hz=16000, n_fft=512).dct_norm
        'ortho'
        """
        if norm not in ("slaney", None):
            raise ConfigError(f"norm is {brief(norm)}; valid: 'slaney' or None")
        if not is_integer(sample_rate_hz) or sample_rate_hz < 1:  # divided by below
            raise ConfigError(
                f"sample_rate_hz is {brief(sample_rate_hz)}; valid: 1000 to 768000"
            )
        return cls(
            sample_rate_hz=sample_rate_hz,
            window_ms=(win_length or n_fft) * 1000 / sample_rate_hz,
            hop_ms=hop_length * 1000 / sample_rate_hz,
            window="hann",
            padding="center" if center else "none",
            n_fft=n_fft,
            n_mels=n_mels,
            f_min_hz=f_min_hz,
            f_max_hz=f_max_hz if f_max_hz is not None else sample_rate_hz / 2,
            mel_scale="htk" if htk else "slaney",
            mel_norm="area" if norm == "slaney" else "none",
            log="db",
            log_floor=1e-10,
            top_db=top_db,
            n_mfcc=n_mfcc,
        )

    @classmethod
    def python_speech_features(
        cls,
        *,
        sample_rate_hz: int = 16000,
        n_mfcc: int | None = 13,
        window_ms: float = 25.0,
        hop_ms: float = 10.0,
        n_mels: int = 26,
        n_fft: int = 512,
        f_min_hz: float = 0.0,
        f_max_hz: float | None = None,
        pre_emphasis: float = 0.97,
        liftering: float = 22.0,
        append_energy: bool = True,
        window: str = "rectangular",
    ) -> FeatureSpec:
        """The spec whose `mfcc` is ``python_speech_features.mfcc``, with its defaults.

        With ``n_mfcc=None`` `log_mel` is its ``logfbank``.

        Args:
            window: ``hamming_symmetric`` is its ``winfunc=numpy.hamming``.

        Raises:
            ConfigError: a field is out of range.

        >>> FeatureSpec.python_speech_features().first_coefficient
        'log_energy'
        """
        return cls(
            sample_rate_hz=sample_rate_hz,
            window_ms=window_ms,
            hop_ms=hop_ms,
            window=window,
            padding="end",
            n_fft=n_fft,
            n_mels=n_mels,
            f_min_hz=f_min_hz,
            f_max_hz=f_max_hz if f_max_hz is not None else sample_rate_hz / 2,
            mel_edges="bins",
            power_scale="n_fft",
            log_floor=2.220446049250313e-16,
            n_mfcc=n_mfcc,
            first_coefficient="log_energy" if append_energy else "dct",
            pre_emphasis=pre_emphasis,
            liftering=liftering,
        )
