"""Getting used to a room: what a place does to every voice is taken off again.

A room, a microphone and its case colour all that is said in front of them alike, as a
slow equaliser would; in log-mel, as in cepstra, that is a constant that is added. So
the mean over a long time tells it, and taking the mean off removes it: cepstral mean
normalisation [At74], here recursive, as a listener needs it [VL98], with the training
speakers' mean for as long as little was heard [GL94]. Only the louder frames of a
window count, those of speech: between words there is noise, not the voice in the room.
And only windows count at all whose level changes as slowly as that of speech, which
comes and goes a few times a second [HS85]: silence or steady noise has a shape of its
own, and minutes of it would be taken for the room's.

A long mean tells of the voices, too, and a small deviation may be theirs alone. So the
deviation is shrunk towards nothing by what it is, squared, against what training
speakers differ among themselves (the positive part of James and Stein's estimator
[JS61]): within their spread nothing is changed, far out of it nearly all is taken off.

[At74] Atal, "Effectiveness of linear prediction characteristics of the speech wave for
automatic speaker identification and verification", JASA 55(6), 1974.
[VL98] Viikki & Laurila, "Cepstral domain segmental feature vector normalization for
noise robust speech recognition", Speech Communication 25, 1998.
[GL94] Gauvain & Lee, "Maximum a posteriori estimation for multivariate Gaussian mixture
observations of Markov chains", IEEE Trans. Speech and Audio Processing 2(2), 1994.
[HS85] Houtgast & Steeneken, "A review of the MTF concept in room acoustics and its use
for estimating speech intelligibility in auditoria", JASA 77(3), 1985.
[JS61] James & Stein, "Estimation with quadratic loss", Proc. 4th Berkeley Symposium,
1961.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edge_ser.errors import ConfigError
from edge_ser.spec import FeatureSpec

Float32 = npt.NDArray[np.float32]

LONGEST_MEMORY_S = 86_400.0
"""A day of speech; settings may not ask for more."""
_SYLLABIC = 0.6
"""Some nine windows of speech in ten or more lie above, in four languages, clean and
with noise at 10 dB; of steady noise, a tap and fire none. What swells or ticks does
too: waves, a clock, a fan that beats by a dB."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdaptationSettings:
    """How fast a listener gets used to a room."""

    enabled: bool = True
    prior_s: float = 10.0
    """How many seconds of speech the training speakers' mean counts for."""
    memory_s: float = 300.0
    """Speech longer ago than about this is forgotten."""

    def __post_init__(self) -> None:
        for name, least in (("prior_s", 0.1), ("memory_s", 1.0)):
            value = getattr(self, name)
            if not least <= value <= LONGEST_MEMORY_S:
                raise ConfigError(
                    f"{name} is {value:g}; valid: {least:g} to "
                    f"{LONGEST_MEMORY_S:.0f} seconds"
                )


def spectral_shape(window: Float32, spec: FeatureSpec) -> Float32:
    """The mean of a window's louder frames, without its level; shape (n_static,).

    Of cepstra the first coefficient is the level, and 0 here. (Where ``window_level``
    took the mean over all coefficients off, some level stays in the others.)

    Args:
        window: a model's input, shape (frames, features), float32.
    """
    static = window[:, : spec.n_static]
    level = _level(static, spec)
    # Of equal levels the mean may round to more than any of them.
    middle = min(np.add.reduce(level) / len(level), level.max())
    loud = (level >= middle).astype(np.float32)
    # As a product: numpy's mean of so few numbers is mostly its own overhead.
    shape = np.asarray(loud @ static / np.add.reduce(loud), np.float32)
    if spec.n_mfcc is not None:
        shape[0] = 0
        return shape
    return np.asarray(shape - shape.mean(), np.float32)


def _level(static: Float32, spec: FeatureSpec) -> Float32:
    """How loud each frame is, up to scale and offset; shape (frames,)."""
    if spec.n_mfcc is not None:
        return static[:, 0]
    return np.asarray(np.add.reduce(static, 1), np.float32)


def syllabic(window: Float32, spec: FeatureSpec) -> float:
    """How much a window's level comes and goes slowly, as it does in speech.

    The autocorrelation of the frames' level at the least lag at which frames share at
    most half of their samples, some 20 ms: noise is another by then, a syllable lasts
    longer. From -1 to 1, whatever the features' scale; 0 where the level never changes,
    and of windows that are no longer than the lag. A few frames alone give less than
    many of the same sound.

    Frames as loud as a neighbour to the last bit are left out: digital silence, as of a
    muted microphone or at the end of a clip, is no sound.

    Args:
        window: a model's input, shape (frames, features), float32.
    """
    lag = -(-spec.window_samples // (2 * spec.hop_samples))
    level = _level(window[:, : spec.n_static], spec).astype(np.float64)
    alike = level[1:] == level[:-1]
    if alike.any():
        level = level[~(np.append(False, alike) | np.append(alike, False))]
    if len(level) <= lag:
        return 0.0
    apart = level - np.add.reduce(level) / len(level)
    power = float(apart @ apart)
    # What rounding to float32 leaves of a level that does not change is no change.
    if power <= 1e-12 * float(level @ level):
        return 0.0
    return float(apart[:-lag] @ apart[lag:]) / power


class Adaptation:
    """What a place does to voices, learned from one window of speech after the other.

    It keeps one number a feature, in memory alone. One belongs to one stream of audio,
    and to one thread at a time. Silence and steady noise teach it nothing (`syllabic`);
    whatever else is no voice in the room does, unless a gate keeps it away. Windows
    shorter than some 0.3 s are too short to be told from noise, and teach nothing.

    Args:
        spec: of the model.
        mean: of `spectral_shape` over training speakers, shape (n_static,).
        spread: their standard deviation, shape (n_static,).

    Raises:
        ConfigError: other shapes, or numbers that are none.

    >>> spec = FeatureSpec(n_mfcc=None, n_mels=2)
    >>> adaptation = Adaptation(spec, [0.0, 0.0], [1.0, 1.0])
    >>> syllables = np.sin(np.arange(60) * 0.314)[:, None]
    >>> dull = (syllables + [5.0, -5.0]).astype(np.float32)
    >>> heard = [adaptation.push(dull, 0.5) for _ in range(60)]
    >>> [round(float(window[0, 0]), 1) for window in heard[::20]]
    [5.0, 2.9, 2.0]
    """

    def __init__(
        self,
        spec: FeatureSpec,
        mean: Sequence[float],
        spread: Sequence[float],
        settings: AdaptationSettings | None = None,
    ) -> None:
        self.settings = settings or AdaptationSettings()
        self.spec = spec
        self._mean = np.array(mean, np.float64)
        spreads = np.array(spread, np.float64)
        for name, values in (("mean", self._mean), ("spread", spreads)):
            if values.shape != (spec.n_static,) or not np.isfinite(values).all():
                raise ConfigError(
                    f"{name} has shape {values.shape}; valid: {spec.n_static} finite "
                    "numbers, one a static feature"
                )
        # A feature that is the same of everybody must not outweigh all others.
        self._precision = 1 / np.maximum(spreads, 1e-3)
        self.learns = True
        """False takes off what is known, and learns nothing more."""
        self.reset()

    def reset(self) -> None:
        """Forget the place."""
        self._deviation = np.zeros_like(self._mean)
        self._heard_s = 0.0

    @property
    def heard_s(self) -> float:
        """Speech that the estimate rests on, at most the settings' ``memory_s``."""
        return self._heard_s

    @property
    def correction(self) -> Float32:
        """What is taken off every frame now, shape (n_static,)."""
        weight = self._heard_s / (self._heard_s + self.settings.prior_s)
        likely = weight * self._deviation
        apart = likely * self._precision
        far = float(apart @ apart) / len(apart)
        share = 1.0 - 1.0 / far if far > 1.0 else 0.0
        return np.asarray(share * likely, np.float32)

    def push(self, window: Float32, heard_s: float) -> Float32:
        """The window without what the place does to it, which is then learned from it.

        From windows without speech nothing is learned, nor if not `learns`.

        Args:
            window: a model's input, shape (frames, features), float32.
            heard_s: audio that it adds to the window before, in seconds, above 0.
        """
        adapted = window.copy()
        adapted[:, : self.spec.n_static] -= self.correction
        if not (self.learns and syllabic(window, self.spec) >= _SYLLABIC):
            return adapted
        self._heard_s = min(self._heard_s + heard_s, self.settings.memory_s)
        # Beyond the memory each window takes the place of what is oldest, on average.
        newest = min(1.0, heard_s / self._heard_s)
        shape = spectral_shape(window, self.spec)
        self._deviation += newest * (shape - self._mean - self._deviation)
        return adapted
