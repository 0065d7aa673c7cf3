"""Sound files, block by block, so that hours need no more memory than seconds.

WAV, integer or float, is read without further libraries; everything else (FLAC, OGG,
MP3, compressed WAV) by soundfile, the extra ``files``.
"""

from __future__ import annotations

import os
import pathlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from edge_ser.audio import wav
from edge_ser.audio.pcm import decode_channels
from edge_ser.errors import AudioError
from edge_ser.features import check_samples
from edge_ser.resample import Resampler, check_rate

Float32 = npt.NDArray[np.float32]
Floats = npt.NDArray[np.floating[Any]]

_BLOCK_FRAMES = 16384


def read_blocks(
    path: str | os.PathLike[str],
    sample_rate_hz: int,
    channel: int | None = None,
    *,
    watch: Callable[[Floats], None] | None = None,
) -> Iterator[Float32]:
    """A file's audio at another rate, its channels averaged.

    Args:
        sample_rate_hz: of the result.
        channel: take this one (0 is the first) in place of the average.
        watch: is given each block as the file holds it, shape (frames, channels),
            before it is averaged and resampled.

    Yields:
        Blocks of a second or so, shape (samples,), float32.

    Raises:
        AudioError: missing, no sound file, truncated, without audio, NaN, or without
            that channel. What is wrong at the end of a file shows only there.
    """
    file = pathlib.Path(path)
    given = os.fspath(path)  # pathlib would drop a leading "./"
    frames = 0
    resampler: Resampler | None = None
    try:
        for rate_hz, block in _decoded(file):
            if resampler is None:
                _check_channel(channel, block.shape[1])
                resampler = Resampler(check_rate(rate_hz), sample_rate_hz)
            samples = _checked(_mono(block, channel), frames)
            if watch is not None:
                watch(block)
            frames += len(block)
            yield resampler.push(samples)
    except AudioError as error:
        raise AudioError(f"{given}: {error}") from error
    except OSError as error:
        # soundfile and some devices raise it without a number, so without a text.
        reason = error.strerror or error
        raise AudioError(f"{given}: cannot be read: {reason}") from error
    if resampler is None or not frames:
        raise AudioError(f"{given}: holds no audio (zero length)")
    yield resampler.flush()


def _checked(block: Float32, position: int) -> Float32:
    """The block, unless it is refused; what is wrong is told by its place in the file.

    Args:
        position: of the block's first sample in the file.
    """
    try:
        return check_samples(block)
    except AudioError:
        bad = np.flatnonzero(~np.isfinite(block))
        if not len(bad):
            raise
        raise AudioError(
            f"samples hold NaN or infinity, first at sample {position + bad[0]}"
        ) from None


def _decoded(file: pathlib.Path) -> Iterator[tuple[int, Floats]]:
    """The file's rate in Hz with each block at that rate, shape (frames, channels)."""
    if file.is_dir():
        raise AudioError("is a folder; give sound files")
    if file.exists() and not file.is_file():
        # To open a FIFO would wait for ever, and headers need seeking.
        raise AudioError("is no regular file; for a pipe use edge-ser listen --pipe")
    with file.open("rb") as reader:
        magic = reader.read(12)
        if not magic:
            raise AudioError("the file is empty")
        if not wav.is_wav(magic):
            yield from _by_soundfile(file, "not a WAV file")
            return
        try:
            layout = wav.read_header(reader)
        except wav.UnsupportedWav as reason:
            yield from _by_soundfile(file, str(reason))
            return
        yield from _by_header(reader, layout)


def _by_header(reader: BinaryIO, layout: wav.WavFormat) -> Iterator[tuple[int, Floats]]:
    rate_hz, frame_bytes = layout.rate_hz, layout.frame_bytes
    reader.seek(layout.data_start)
    left = sys.maxsize if layout.data_bytes is None else layout.data_bytes
    found = 0
    while left >= frame_bytes:
        wanted = min(_BLOCK_FRAMES * frame_bytes, left - left % frame_bytes)
        data = reader.read(wanted)
        count = len(data) // frame_bytes
        if count:
            yield rate_hz, _frames(data[: count * frame_bytes], layout)
        found += count
        left -= len(data)
        if len(data) < wanted:
            break
    if layout.data_bytes is not None and found < layout.data_bytes // frame_bytes:
        promised_s = layout.data_bytes / frame_bytes / rate_hz
        raise AudioError(
            f"truncated: its header promises {promised_s:.2f} s, "
            f"the file holds {found / rate_hz:.2f} s"
        )


def _frames(data: bytes, layout: wav.WavFormat) -> Floats:
    if layout.is_float:
        samples = np.frombuffer(data, f"<f{layout.sample_bytes}")
        return samples.reshape(-1, layout.channels)
    return decode_channels(
        data, sample_bytes=layout.sample_bytes, channels=layout.channels
    )


def _mono(frames: Floats, channel: int | None) -> Float32:
    if channel is None and frames.shape[1] == 1:
        channel = 0
    with np.errstate(over="ignore", invalid="ignore"):  # refused with its place
        if channel is not None:
            return np.ascontiguousarray(frames[:, channel], np.float32)
        return np.asarray(frames.mean(1, dtype=np.float64), np.float32)


def _check_channel(channel: int | None, channels: int) -> None:
    if channel is not None and not 0 <= channel < channels:
        raise AudioError(f"has no channel {channel}; valid: 0 to {channels - 1}")


def _by_soundfile(file: pathlib.Path, reason: str) -> Iterator[tuple[int, Floats]]:
    try:
        import soundfile
    except ImportError as error:
        raise AudioError(
            f"{reason}; other formats need soundfile: pip install soundfile"
        ) from error
    try:
        with soundfile.SoundFile(str(file)) as reader:
            found = 0
            while True:
                block = reader.read(_BLOCK_FRAMES, dtype="float32", always_2d=True)
                if not len(block):
                    break
                found += len(block)
                yield reader.samplerate, block
            # Some formats do not tell their length; others then promise the most.
            if found < reader.frames < 1 << 62:
                raise AudioError("truncated")
    except soundfile.LibsndfileError as error:
        detail = " ".join(error.error_string.split()).rstrip(".")
        raise AudioError(f"not a sound file: {detail}") from error
    except (RuntimeError, ValueError, TypeError) as error:
        # What soundfile answers to impossible headers (negative sizes, no channels).
        detail = " ".join(str(error).split())
        raise AudioError(f"not a sound file: {detail}") from error


class FileSource:
    """A sound file in place of a microphone.

    Args:
        path: of any format that `read_blocks` reads.
        real_time: keep the pace of time, as a microphone does; otherwise as fast as
            the reader can take it.
        block_s: audio in one block.
    """

    live = False
    paced = False
    reopens = False

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        real_time: bool = False,
        block_s: float = 0.1,
    ) -> None:
        self.name = str(path)
        self._path = path
        self._real_time = real_time
        self._block_s = block_s
        self._blocks: Iterator[Float32] | None = None

    def open(self, sample_rate_hz: int) -> None:
        """See `Source.open`; the first block is read here, so errors show at once."""
        self._block_samples = max(1, round(self._block_s * sample_rate_hz))
        self._blocks = read_blocks(self._path, sample_rate_hz)
        self._pending = next(self._blocks)
        self._rate_hz = sample_rate_hz
        self._given_samples = 0
        self._started_s = time.monotonic()

    def read(self) -> Float32 | None:
        """See `Source.read`."""
        if self._blocks is None:
            return None
        while len(self._pending) < self._block_samples:
            block = next(self._blocks, None)
            if block is None:
                break
            self._pending = np.concatenate([self._pending, block])
        if not len(self._pending):
            return None
        block = self._pending[: self._block_samples]
        self._pending = self._pending[self._block_samples :]
        self._given_samples += len(block)
        if self._real_time:
            due_s = self._started_s + self._given_samples / self._rate_hz
            time.sleep(max(0.0, due_s - time.monotonic()))
        return block

    def close(self) -> None:
        """See `Source.close`."""
        self._blocks = None
