"""Sound files, block by block, so that hours need no more memory than seconds.

Integer PCM WAV is read by the standard library; everything else (FLAC, OGG, float WAV)
by soundfile, the extra ``files``.
"""

from __future__ import annotations

import os
import pathlib
import time
import wave
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from edge_ser.audio.pcm import decode
from edge_ser.errors import AudioError
from edge_ser.features import check_samples
from edge_ser.resample import Resampler, check_rate

Float32 = npt.NDArray[np.float32]

_BLOCK_FRAMES = 16384


def read_blocks(path: str | os.PathLike[str], sample_rate_hz: int) -> Iterator[Float32]:
    """A file's audio at another rate, its channels averaged.

    Args:
        sample_rate_hz: of the result.

    Yields:
        Blocks of at most about a second, shape (samples,), float32.

    Raises:
        AudioError: missing, no sound file, truncated, without audio, NaN. What is
            wrong at the end of a file shows only there.
    """
    file = pathlib.Path(path)
    try:
        if file.is_dir():
            raise AudioError(f"{file}: is a folder; give sound files")
        with file.open("rb") as start:
            magic = start.read(12)
    except OSError as error:
        raise AudioError(f"{file}: cannot be read: {error.strerror}") from error
    if not magic:
        raise AudioError(f"{file}: the file is empty")
    frames = 0
    resampler: Resampler | None = None
    for rate_hz, block in _decoded(file, magic):
        try:
            if resampler is None:
                resampler = Resampler(check_rate(rate_hz), sample_rate_hz)
            frames += len(block)
            yield resampler.push(check_samples(block))
        except AudioError as error:
            raise AudioError(f"{file}: {error}") from error
    if resampler is None or not frames:
        raise AudioError(f"{file}: holds no audio (zero length)")
    yield resampler.flush()


def _decoded(file: pathlib.Path, magic: bytes) -> Iterator[tuple[int, Float32]]:
    """The file's rate in Hz with each block at that rate."""
    if magic[:4] == b"RIFF" and magic[8:12] == b"WAVE":
        try:
            reader = wave.open(str(file), "rb")  # noqa: SIM115 (closed below)
        except (wave.Error, EOFError) as error:
            # Float samples or an extensible header: valid, but not for `wave`.
            reason = str(error) or "the header is cut"
            yield from _by_soundfile(file, reason)
            return
        with reader:
            yield from _by_wave(file, reader)
        return
    yield from _by_soundfile(file, "not a PCM WAV file")


def _by_wave(
    file: pathlib.Path, reader: wave.Wave_read
) -> Iterator[tuple[int, Float32]]:
    rate_hz, promised = reader.getframerate(), reader.getnframes()
    channels, sample_bytes = reader.getnchannels(), reader.getsampwidth()
    if not 1 <= sample_bytes <= 4 or rate_hz <= 0:
        raise AudioError(f"{file}: the WAV header is damaged")
    found = 0
    while data := reader.readframes(_BLOCK_FRAMES):
        count = len(data) // (channels * sample_bytes)
        found += count
        whole = data[: count * channels * sample_bytes]
        yield rate_hz, decode(whole, sample_bytes=sample_bytes, channels=channels)
    if found < promised:
        raise AudioError(
            f"{file}: truncated: its header promises {promised / rate_hz:.2f} s, "
            f"the file holds {found / rate_hz:.2f} s"
        )


def _by_soundfile(file: pathlib.Path, reason: str) -> Iterator[tuple[int, Float32]]:
    try:
        import soundfile
    except ImportError as error:
        raise AudioError(
            f"{file}: {reason}; other formats need soundfile: "
            "pip install 'edge-ser[files]'"
        ) from error
    try:
        with soundfile.SoundFile(str(file)) as reader:
            found = 0
            while True:
                block = reader.read(_BLOCK_FRAMES, dtype="float32", always_2d=True)
                if not len(block):
                    break
                found += len(block)
                mono = block[:, 0] if block.shape[1] == 1 else block.mean(1)
                yield reader.samplerate, np.asarray(mono, np.float32)
            if found < reader.frames:
                raise AudioError(f"{file}: truncated")
    except soundfile.LibsndfileError as error:
        reason = error.error_string.strip().rstrip(".")
        raise AudioError(f"{file}: not a sound file: {reason}") from error


class FileSource:
    """A sound file in place of a microphone.

    Args:
        path: of any format that `read_blocks` reads.
        real_time: keep the pace of time, as a microphone does; otherwise as fast as
            the reader can take it.
        block_s: audio in one block.
    """

    live = False
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
