"""From audio files to frames: decoded once, in parallel, and kept by content."""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import functools
import hashlib
import json
import multiprocessing
import os
import pathlib
import zipfile
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from edge_ser import dsp, front_end
from edge_ser.features import FeatureSpec, static_features
from training import variation
from training.corpora import Clip
from training.dataset import FeatureSet, frame_spec, read_clip
from training.errors import CorpusError
from training.variation import Copies

Float32 = npt.NDArray[np.float32]

# Fewer are computed before another process has started.
_WORTH_PROCESSES = 500


@dataclasses.dataclass(frozen=True)
class _Job:
    """One file's frames, or those of one varied version."""

    path: pathlib.Path
    spec: FeatureSpec
    file: pathlib.Path | None
    """Where they are kept."""
    copies: Copies
    version: int
    """0 is the original."""
    rooms: tuple[pathlib.Path, ...]
    samples: bool


def extract(
    clips: Sequence[Clip],
    spec: FeatureSpec,
    cache: pathlib.Path | None = None,
    *,
    copies: Copies | None = None,
    rooms: Sequence[pathlib.Path] = (),
    noises: Sequence[pathlib.Path] = (),
    skip_bad: bool = False,
    samples: bool = False,
) -> FeatureSet:
    """Frames of every clip; clips with samples heard before are left out.

    Args:
        clips: in any order; of duplicates the first stays.
        cache: a folder that keeps frames by the file's content and the spec, or None.
        copies: varied versions to make of each clip, too.
        rooms: impulse responses for them.
        noises: recordings whose log-mel frames are wanted, too.
        skip_bad: leave clips out that cannot be read, instead of refusing all.
        samples: each frame is one sample, see `training.zoo.takes_samples`.

    Raises:
        CorpusError: unreadable clips, by name; or none at all is left.
    """
    copies = copies or Copies()
    frames_of = frame_spec(spec)
    digests = [_file_digest(clip.path) for clip in clips]
    jobs = [
        _Job(clip.path, frames_of, file, copies, version, tuple(rooms), samples)
        for version in range(copies.count + 1)
        for clip, file in zip(
            clips,
            _places(cache, digests, frames_of, copies, version, rooms, samples),
            strict=True,
        )
    ]
    results = _compute_all(jobs)
    count = len(clips)
    bad = [i for i in range(count) if isinstance(results[i], str)]
    if bad:
        listed = "; ".join(str(results[i]) for i in bad[:10])
        more = f"; and {len(bad) - 10} more" if len(bad) > 10 else ""
        if not skip_bad:
            raise CorpusError(
                f"{len(bad)} unreadable clip(s): {listed}{more}. Mend or remove them, "
                "or leave them out with --skip-bad"
            )
        tqdm.write(f"left out, {len(bad)} unreadable clip(s): {listed}{more}")
    kept = list(_unheard(clips, results[:count]))
    if not kept:
        raise CorpusError("no readable clip is left")
    versions = [
        _joined(spec, clips, kept, results[version * count : (version + 1) * count])
        for version in range(copies.count + 1)
    ]
    return dataclasses.replace(
        versions[0],
        copies=tuple(versions[1:]),
        noise=_noise_frames(noises, frames_of),
        skip_bad=skip_bad,
        samples=samples,
    )


def _unheard(clips: Sequence[Clip], results: Sequence[Float32 | str]) -> Iterator[int]:
    """Readable clips whose frames no earlier clip has."""
    seen = set()
    for index, frames in enumerate(results):
        if isinstance(frames, str):
            continue
        digest = hashlib.sha256(frames.tobytes()).digest()
        if digest in seen:
            name = clips[index].path.name
            tqdm.write(f"{name}: same samples as an earlier clip, left out")
            continue
        seen.add(digest)
        yield index


def _joined(
    spec: FeatureSpec,
    clips: Sequence[Clip],
    kept: Sequence[int],
    results: Sequence[Float32 | str],
) -> FeatureSet:
    parts = [frames for i in kept if not isinstance(frames := results[i], str)]
    return FeatureSet(
        spec,
        tuple(clips[i] for i in kept),
        np.concatenate(parts),
        np.cumsum([0, *map(len, parts)]),
    )


def _noise_frames(
    paths: Iterable[pathlib.Path], spec: FeatureSpec
) -> tuple[Float32, ...]:
    mels = dataclasses.replace(spec, n_mfcc=None)
    return tuple(
        static_features(_padded(read_clip(path, spec.sample_rate_hz), spec), mels)
        for path in paths
    )


def _padded(samples: Float32, spec: FeatureSpec) -> Float32:
    """At least one frame long."""
    return np.pad(samples, (0, max(0, spec.window_samples - len(samples))))


def _file_digest(path: pathlib.Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:32]
    except OSError:
        return "unreadable"  # `read_clip` will say why


def _places(
    cache: pathlib.Path | None,
    digests: Sequence[str],
    spec: FeatureSpec,
    copies: Copies,
    version: int,
    rooms: Sequence[pathlib.Path],
    samples: bool,
) -> list[pathlib.Path | None]:
    """Where the frames of each clip are kept."""
    if cache is None:
        return [None] * len(digests)
    # What other code computed is not what the device would.
    code = [pathlib.Path(m.__file__ or "").read_text() for m in (dsp, front_end)]
    told: list[object] = [spec.to_dict(), "samples" if samples else code]
    if version:
        varied = dataclasses.replace(copies, count=1, rooms=str(bool(rooms)))
        source = pathlib.Path(variation.__file__).read_text()
        told += [dataclasses.asdict(varied), [_file_digest(r) for r in rooms], source]
    key = hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]
    suffix = f"-{version}" if version else ""
    return [cache / f"frames-{key}" / f"{digest}{suffix}.npy" for digest in digests]


def _compute_all(jobs: Sequence[_Job]) -> list[Float32 | str]:
    """Each job's frames, or why there are none."""
    results: list[Float32 | str | None] = [_stored(job.file) for job in jobs]
    missing = [i for i, result in enumerate(results) if result is None]
    for file in {job.file.parent for i in missing if (job := jobs[i]).file}:
        file.mkdir(parents=True, exist_ok=True)
    bar = tqdm(total=len(missing), desc="features", unit="clip", disable=None)
    processes = os.cpu_count() or 1
    with contextlib.ExitStack() as stack:
        todo = [jobs[i] for i in missing]
        answers: Iterable[Float32 | str] = map(_compute, todo)
        if len(missing) >= _WORTH_PROCESSES and processes > 1:
            context = multiprocessing.get_context("spawn")
            pool = concurrent.futures.ProcessPoolExecutor(processes, mp_context=context)
            stack.callback(pool.shutdown, cancel_futures=True)
            answers = pool.map(_compute, todo, chunksize=32)
        for index, answer in zip(missing, answers, strict=True):
            results[index] = answer
            bar.update()
    bar.close()
    return [result for result in results if result is not None]


def _stored(file: pathlib.Path | None) -> Float32 | None:
    if file is None or not file.exists():
        return None
    try:
        with file.open("rb") as opened:
            return np.asarray(np.load(opened), np.float32)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return None  # damaged; compute it again


@functools.lru_cache(maxsize=1)
def _responses(paths: tuple[pathlib.Path, ...], rate_hz: int) -> list[Float32]:
    return [read_clip(path, rate_hz) for path in paths]


def _compute(job: _Job) -> Float32 | str:
    try:
        samples = read_clip(job.path, job.spec.sample_rate_hz)
    except CorpusError as error:
        return str(error)
    if job.version:
        rate = job.spec.sample_rate_hz
        responses = _responses(job.rooms, rate)
        digest = hashlib.sha256(samples.tobytes()).digest()
        seed = [job.version, int.from_bytes(digest[:8], "big")]
        samples = variation.vary(
            samples, rate, job.copies, responses, np.random.default_rng(seed)
        )
    if job.samples:
        frames = samples[:, None]
    else:
        frames = static_features(_padded(samples, job.spec), job.spec)
    if job.file is not None:
        partial = job.file.with_name(f".partial-{os.getpid()}-{job.file.name}")
        try:
            with partial.open("wb") as opened:
                np.save(opened, frames)
            partial.replace(job.file)
        except OSError:
            partial.unlink(missing_ok=True)
            raise
    return frames
