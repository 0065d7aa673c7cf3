"""What is in a folder of recordings, and what is wrong with it."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import itertools
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from edge_ser.features import FeatureSpec, log_mel
from training.corpora import ADAPTERS, Clip, find_clips
from training.dataset import read_clip
from training.errors import CorpusError
from training.metrics import Interval, Scored, intervals

Float32 = npt.NDArray[np.float32]

SPEC = FeatureSpec(n_mfcc=None, n_mels=32, f_min_hz=50.0, log_floor=1e-10)
SILENT_DBFS = -60.0
CLIPPED_RUN_SAMPLES = 4
IMBALANCE = 3.0
_LISTED = 8
_TOO_FEW = 10


@dataclasses.dataclass(frozen=True)
class Hearing:
    """What the samples of one clip tell."""

    clip: Clip
    digest: bytes
    duration_s: float
    level_dbfs: float
    """Root mean square."""
    is_clipped: bool
    """Full scale is reached for several samples on end."""
    starts_loud: bool
    ends_loud: bool
    """Its last 10 ms are nearly as loud as the speech: the end is cut off."""
    background: Float32
    """Log energies of 32 bands in the quietest tenth of the frames, and log length."""


@dataclasses.dataclass(frozen=True)
class Survey:
    """One corpus as found."""

    corpus: str
    clips: tuple[Clip, ...]
    hearings: tuple[Hearing, ...]
    unreadable: tuple[str, ...]
    giveaway: Interval | None
    """UA of a classifier that hears the background and the length alone."""

    @property
    def counts(self) -> dict[str, int]:
        """Clips by emotion, most first."""
        return dict(collections.Counter(c.emotion for c in self.clips).most_common())

    def warnings(self) -> list[str]:
        """What should be known before training on it."""
        lines = []
        faults = (
            ("unreadable", list(self.unreadable)),
            ("the same audio under several names", _twins(self.hearings)),
            (
                f"silent (below {SILENT_DBFS:.0f} dBFS)",
                self._names(lambda h: h.level_dbfs < SILENT_DBFS),
            ),
            ("clipped", self._names(lambda h: h.is_clipped)),
            ("cut off at the start", self._names(lambda h: h.starts_loud)),
            ("cut off at the end", self._names(lambda h: h.ends_loud)),
        )
        for fault, names in faults:
            if names:
                lines.append(f"{len(names)} {fault}: {_listed(names)}")
        counts = self.counts
        most, least = (
            max(counts, key=counts.__getitem__),
            min(counts, key=counts.__getitem__),
        )
        if counts[most] > IMBALANCE * counts[least]:
            lines.append(
                f"uneven labels: {counts[most]} of {most}, {counts[least]} of {least}; "
                "see class_weight_power and balanced_sampling"
            )
        speakers = {clip.speaker for clip in self.clips}
        unknown = sum(not clip.speaker_known for clip in self.clips)
        if unknown:
            lines.append(
                f"{unknown} clips of unknown speakers: no split can keep speakers apart"
            )
        elif len(speakers) < 2:
            lines.append("a single speaker: nothing can be measured on a stranger")
        chance = 1 / max(1, sum(n >= _TOO_FEW for n in counts.values()))
        if self.giveaway is not None and self.giveaway.low > chance:
            lines.append(
                "the background and the length alone tell the label to "
                f"{100 * self.giveaway.value:.0f} % UA on other speakers "
                f"[{100 * self.giveaway.low:.0f}, {100 * self.giveaway.high:.0f}], "
                f"chance is {100 * chance:.0f} %: part of what a network reaches on "
                "this corpus may be the recording chain"
            )
        return lines

    def _names(self, is_faulty) -> list[str]:  # type: ignore[no-untyped-def]
        return [h.clip.name for h in self.hearings if is_faulty(h)]


def overlaps(surveys: Sequence[Survey]) -> list[str]:
    """Warnings of audio that two corpora share: one's stranger is known by the other.

    Args:
        surveys: of different corpora, as found in one folder.
    """
    lines = []
    for one, other in itertools.combinations(surveys, 2):
        common = {h.digest for h in one.hearings} & {h.digest for h in other.hearings}
        both = [h for h in (*one.hearings, *other.hearings) if h.digest in common]
        if both:
            names = _twins(both)
            lines.append(
                f"{len(names)} recordings are both in {one.corpus} and in "
                f"{other.corpus}: {_listed(names)}; a training takes the first, but "
                "their speakers count as different ones"
            )
    return lines


def _twins(hearings: Sequence[Hearing]) -> list[str]:
    same: dict[bytes, list[str]] = {}
    for hearing in hearings:
        same.setdefault(hearing.digest, []).append(hearing.clip.name)
    return [" = ".join(names) for names in same.values() if len(names) > 1]


def _listed(names: Sequence[str]) -> str:
    more = f", and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


def hear(clip: Clip) -> Hearing:
    """Decode and measure one clip.

    Raises:
        CorpusError: see `read_clip`.
    """
    rate = SPEC.sample_rate_hz
    samples = read_clip(clip.path, rate)
    level = float(np.sqrt(np.mean(samples.astype(np.float64) ** 2)))
    short = max(0, SPEC.window_samples - len(samples))
    bands = log_mel(np.pad(samples, (0, short)), SPEC)
    power = bands.mean(1)
    quiet = bands[power <= np.quantile(power, 0.1)].mean(0)
    edge = rate // 100
    ends = [np.sqrt(np.mean(part**2)) for part in (samples[:edge], samples[-edge:])]
    return Hearing(
        clip=clip,
        digest=hashlib.sha256(samples.tobytes()).digest(),
        duration_s=len(samples) / rate,
        level_dbfs=20 * np.log10(max(level, 1e-9)),
        is_clipped=_longest_run(np.abs(samples) >= 0.999) >= CLIPPED_RUN_SAMPLES,
        starts_loud=bool(level > 1e-3 and ends[0] > level / 2),
        ends_loud=bool(level > 1e-3 and ends[1] > level / 2),
        background=np.append(quiet, np.log(len(samples) / rate)).astype(np.float32),
    )


def _longest_run(flags: npt.NDArray[np.bool_]) -> int:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]])))
    return int((edges[1::2] - edges[::2]).max(initial=0))


def giveaway(hearings: Sequence[Hearing]) -> Interval | None:
    """UA of linear discriminants on backgrounds and lengths, over folds of speakers.

    None where speakers or labels are too few to tell.
    """
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.model_selection import GroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    count = collections.Counter(hearing.clip.emotion for hearing in hearings)
    hearings = [h for h in hearings if count[h.clip.emotion] >= _TOO_FEW]
    clips = [hearing.clip for hearing in hearings]
    speakers = np.array([clip.speaker for clip in clips])
    labels, truth = np.unique([clip.emotion for clip in clips], return_inverse=True)
    folds = min(5, len(set(speakers)))
    if folds < 2 or len(labels) < 2:
        return None
    heard = np.stack([hearing.background for hearing in hearings])
    shrunk = LinearDiscriminantAnalysis(
        solver="lsqr", shrinkage="auto", priors=np.full(len(labels), 1 / len(labels))
    )
    try:
        predicted = cross_val_predict(
            make_pipeline(StandardScaler(), shrunk),
            heard,
            truth,
            groups=speakers,
            cv=GroupKFold(folds),
        )
    except ValueError:
        return None  # a label that only one fold's speakers have
    return intervals(Scored(truth, predicted, speakers), repeats=2000)["UA"]


def survey(
    root: pathlib.Path,
    corpora: Sequence[str] = (),
    label_map: Mapping[str, str] | None = None,
) -> list[Survey]:
    """Every corpus below a folder, listened to.

    Args:
        corpora: as in a config; without, every known corpus that is there.

    Raises:
        CorpusError: nothing is found; or see `find_clips`.
    """
    found = []
    for name in corpora or ADAPTERS:
        try:
            clips = find_clips(root, [name], label_map)
        except CorpusError as error:
            if corpora or "no clip of" not in str(error):
                raise
            continue
        hearings, unreadable = [], []
        for clip in tqdm(clips, name, unit="clip", disable=None):
            try:
                hearings.append(hear(clip))
            except CorpusError as error:
                unreadable.append(str(error))
        found.append(
            Survey(
                name,
                tuple(clips),
                tuple(hearings),
                tuple(unreadable),
                giveaway(hearings),
            )
        )
    if not found:
        raise CorpusError(
            f"no known corpus below {root}; known: {', '.join(ADAPTERS)}. Recordings "
            "of your own: --corpora folders (label/clip), table:FILE.csv or audformat"
        )
    return found


def markdown(found: Survey) -> str:
    """Counts and warnings of one corpus."""
    clips = found.clips
    speakers = {clip.speaker for clip in clips if clip.speaker_known}
    seconds = sum(hearing.duration_s for hearing in found.hearings)
    genders = collections.Counter(clip.gender or "unknown" for clip in clips)
    emotions = list(found.counts)
    lines = [
        f"## {found.corpus}: {len(clips)} clips, {len(speakers) or 'unknown'} "
        f"speakers, {seconds / 3600:.2f} h",
        "",
        "Clips by gender: " + ", ".join(f"{g} {n}" for g, n in sorted(genders.items())),
        "",
        "| speaker | gender | " + " | ".join(emotions) + " |",
        "| --- " * (len(emotions) + 2) + "|",
    ]
    by_speaker: dict[str, list[Clip]] = {}
    for clip in clips:
        name = clip.speaker if clip.speaker_known else "unknown"
        by_speaker.setdefault(name, []).append(clip)
    for speaker, spoken in sorted(by_speaker.items()):
        counts = collections.Counter(clip.emotion for clip in spoken)
        cells = " | ".join(str(counts[emotion]) for emotion in emotions)
        genders_of = "/".join(sorted({clip.gender for clip in spoken}))
        lines.append(f"| {speaker} | {genders_of} | {cells} |")
    total = " | ".join(str(count) for count in found.counts.values())
    lines += [f"| all | | {total} |", ""]
    lines += [f"- **{warning}**" for warning in found.warnings()] or ["No warnings."]
    return "\n".join(lines)
