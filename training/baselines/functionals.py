"""One vector a clip: openSMILE's sets, and prosody, voice quality and spectrum by hand.

eGeMAPS: Eyben et al. 2016, "The Geneva minimalistic acoustic parameter set", IEEE
Transactions on Affective Computing 7(2). ComParE: Schuller et al. 2016, Interspeech.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import json
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from training.corpora import Clip
from training.dataset import read_clip
from training.errors import CorpusError

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

SAMPLE_RATE_HZ = 16000
_PACKAGES = ("opensmile", "praat-parselmouth", "librosa", "numpy")


@dataclasses.dataclass(frozen=True)
class FunctionalSet:
    """A vector for each clip."""

    clips: tuple[Clip, ...]
    values: Float32
    """Shape (clips, functionals); finite."""

    def subset(self, keep: Sequence[int]) -> FunctionalSet:
        """The clips at the given positions, in that order."""
        return FunctionalSet(
            tuple(self.clips[index] for index in keep), self.values[list(keep)]
        )


def opensmile_set(name: str) -> Callable[[Float32], Float32]:
    """A function from 16 kHz samples to an openSMILE set's functionals."""
    import opensmile

    smile = opensmile.Smile(
        feature_set=opensmile.FeatureSet[name],
        feature_level=opensmile.FeatureLevel.Functionals,
    )

    def functionals(samples: Float32) -> Float32:
        values = smile.process_signal(samples, SAMPLE_RATE_HZ).to_numpy()[0]
        return np.asarray(values, np.float32)

    return functionals


def voice(samples: Float32) -> Float32:
    """Prosody, voice quality, spectrum and Teager energy of a clip.

    By Praat (Boersma & Weenink, through parselmouth): F0 and its slope, intensity,
    speaking rate (peaks of intensity, voiced or not, after De Jong & Wempe 2009,
    Behavior Research Methods 41), share of voiced frames, jitter, shimmer,
    harmonics-to-noise ratio, the first four formants. By librosa: 20 MFCC and their
    deltas. Teager energy ``x[n]^2 - x[n-1] x[n+1]``: Kaiser 1990, ICASSP.

    Args:
        samples: at 16 kHz, shape (samples,).

    Returns:
        Shape (functionals,), float32; what a clip has none of (F0 of a whisper) is 0.
    """
    import librosa
    import parselmouth

    sound = parselmouth.Sound(samples.astype(np.float64), SAMPLE_RATE_HZ)
    pitch = sound.to_pitch(time_step=0.01, pitch_floor=75, pitch_ceiling=600)
    f0_hz = pitch.selected_array["frequency"]
    voiced = f0_hz > 0
    # NaN where there is no voice: no slope leads from one stretch of it to the next.
    semitones = 12 * np.log2(np.where(voiced, f0_hz, np.nan) / 100)
    intensity_db = sound.to_intensity(minimum_pitch=75, time_step=0.01).values[0]
    duration_s = len(samples) / SAMPLE_RATE_HZ
    call = parselmouth.praat.call
    pulses = call([sound, pitch], "To PointProcess (cc)")
    period = (0, 0, 0.0001, 0.02, 1.3)  # Praat's own limits
    parts = [
        _statistics(semitones),
        _statistics(np.diff(semitones)),
        _statistics(intensity_db),
        _statistics(np.diff(intensity_db)),
        [voiced.mean(), _nuclei(intensity_db) / duration_s, duration_s],
        [call(pulses, f"Get jitter ({kind})", *period) for kind in ("local", "rap")],
        [
            call([sound, pulses], f"Get shimmer ({kind})", *period, 1.6)
            for kind in ("local", "apq3")
        ],
    ]
    harmonicity = sound.to_harmonicity_cc(time_step=0.01).values[0]
    parts.append(_statistics(harmonicity[harmonicity > -200]))  # -200: unvoiced
    formants = sound.to_formant_burg(time_step=0.01, maximum_formant=5500)
    times_s = formants.xs()
    for number in range(1, 5):
        track = [formants.get_value_at_time(number, time_s) for time_s in times_s]
        parts.append(_statistics(np.array(track)))
    mfcc = librosa.feature.mfcc(y=samples, sr=SAMPLE_RATE_HZ, n_mfcc=20)
    slopes = np.gradient(mfcc, axis=1)
    parts += [mfcc.mean(1), mfcc.std(1), slopes.std(1)]
    teager = samples[1:-1] ** 2 - samples[:-2] * samples[2:]
    frames = np.abs(teager[: len(teager) // 160 * 160]).reshape(-1, 160).mean(1)
    parts.append(_statistics(np.log(frames + 1e-10)))
    vector = np.concatenate([np.asarray(part, np.float64) for part in parts])
    return np.nan_to_num(vector, nan=0, posinf=0, neginf=0).astype(np.float32)


def _statistics(values: Float64) -> Float64:
    """Of finite values: mean, deviation, percentiles 5, 50 and 95, and 95 less 5."""
    values = values[np.isfinite(values)]
    if not len(values):
        return np.zeros(6)
    low, middle, high = np.percentile(values, [5, 50, 95])
    return np.array([values.mean(), values.std(), low, middle, high, high - low])


def _nuclei(intensity_db: Float64) -> int:
    """Syllables: peaks above the median, each 2 dB above the dip before it."""
    count, dip = 0, np.inf
    floor = np.median(intensity_db)
    for before, here, after in zip(
        intensity_db, intensity_db[1:], intensity_db[2:], strict=False
    ):
        dip = min(dip, before)
        if before < here >= after and here > floor and here - dip > 2:
            count, dip = count + 1, np.inf
    return count


FUNCTIONALS: dict[str, Callable[[], Callable[[Float32], Float32]]] = {
    "egemaps": lambda: opensmile_set("eGeMAPSv02"),
    "compare": lambda: opensmile_set("ComParE_2016"),
    "voice": lambda: voice,
}


def extract(
    clips: Sequence[Clip], kind: str, cache: pathlib.Path | None = None
) -> FunctionalSet:
    """Functionals of every clip; clips with samples seen before are left out.

    Args:
        kind: out of `FUNCTIONALS`.
        cache: a folder that keeps the result by content (file sizes and times, code
            and versions of the packages), or None.

    Raises:
        CorpusError: an unreadable clip, or functionals that are not finite.
    """
    file = cache / f"functionals-{_cache_key(clips, kind)}.npz" if cache else None
    if file is not None and file.exists():
        with np.load(file) as stored:
            kept = tuple(clips[index] for index in stored["kept"])
            return FunctionalSet(kept, stored["values"])
    function = FUNCTIONALS[kind]()
    values, indices, seen = [], [], set()
    for index, clip in enumerate(tqdm(clips, kind, unit="clip", disable=None)):
        samples = read_clip(clip.path, SAMPLE_RATE_HZ)
        digest = hashlib.sha256(samples.tobytes()).digest()
        if digest in seen:
            continue
        seen.add(digest)
        vector = function(samples)
        if not np.isfinite(vector).all():
            raise CorpusError(f"{clip.path}: {kind} functionals are not finite")
        values.append(vector)
        indices.append(index)
    stacked = np.stack(values)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_name(f".partial-{file.name}")
        np.savez(partial, values=stacked, kept=indices)
        partial.replace(file)
    return FunctionalSet(tuple(clips[index] for index in indices), stacked)


def _cache_key(clips: Sequence[Clip], kind: str) -> str:
    files = [
        (str(clip.path), clip.path.stat().st_size, clip.path.stat().st_mtime_ns)
        for clip in clips
    ]
    versions = [importlib.metadata.version(package) for package in _PACKAGES]
    content: list[Any] = [files, kind, versions, pathlib.Path(__file__).read_text()]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]
