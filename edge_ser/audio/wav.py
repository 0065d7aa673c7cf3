"""RIFF/WAVE headers, read with no more trust than a stranger's file deserves.

The standard library's `wave` knows neither float samples nor, before Python 3.12,
extensible headers, and answers damaged files with errors of many kinds. Microsoft &
IBM 1991, "Multimedia Programming Interface and Data Specifications 1.0"; Microsoft
2007, "Multiple channel audio data and WAVE files".
"""

from __future__ import annotations

import dataclasses
import io
import struct
from typing import BinaryIO

from edge_ser.errors import AudioError

_PCM, _FLOAT, _EXTENSIBLE = 0x0001, 0x0003, 0xFFFE
# The end of the sub-format GUID of plain PCM and float in extensible headers.
_GUID_TAIL = bytes.fromhex("000000001000800000aa00389b71")
# Writers into a pipe cannot know the length and say about 2 GiB, 4 GiB, or 0 both for
# the file and its data.
_UNKNOWN_BYTES = 0x7FFF0000
_MOST_CHANNELS = 64
_MOST_CHUNKS = 1000


@dataclasses.dataclass(frozen=True)
class WavFormat:
    """What a WAVE header says of the samples behind it."""

    rate_hz: int
    channels: int
    sample_bytes: int
    is_float: bool
    data_start: int
    """Where the samples begin, in bytes from the start of the file."""
    data_bytes: int | None
    """How many there are by the header; None: to the end of the file."""

    @property
    def frame_bytes(self) -> int:
        """One sample of every channel."""
        return self.channels * self.sample_bytes


class UnsupportedWav(Exception):  # noqa: N818 (not an error yet: soundfile may read it)
    """A sound WAVE file whose samples are neither integer PCM nor float."""


def is_wav(magic: bytes) -> bool:
    """Whether the first 12 bytes of a file are those of a WAVE file."""
    return magic[:4] == b"RIFF" and magic[8:12] == b"WAVE"


def read_header(file: BinaryIO) -> WavFormat:
    """The header of a WAVE file that can be sought, read from its start.

    Raises:
        AudioError: damaged: a chunk is cut, repeated, missing, or impossible.
        UnsupportedWav: in order, but compressed (A-law, ADPCM, MP3...).
    """
    file.seek(0)
    magic = file.read(12)
    if not is_wav(magic):
        raise AudioError("not a WAV file")
    riff_bytes = struct.unpack("<I", magic[4:8])[0]
    layout: tuple[int, int, int, bool] | None = None
    for _ in range(_MOST_CHUNKS):
        head = file.read(8)
        if len(head) < 8:
            missing = "data" if layout else "format"
            raise AudioError(f"the WAV header is cut: it has no {missing} chunk")
        name, size = struct.unpack("<4sI", head)
        if name == b"data":
            if layout is None:
                raise AudioError("the WAV header is damaged: data before the format")
            unknown = size >= _UNKNOWN_BYTES or size == riff_bytes == 0
            length = None if unknown else size
            rate_hz, channels, sample_bytes, is_float = layout
            return WavFormat(
                rate_hz, channels, sample_bytes, is_float, file.tell(), length
            )
        if name == b"fmt ":
            body = file.read(min(size, 64))
            layout = _parse_format(body)
            size -= len(body)
        # Chunks are padded to even lengths.
        file.seek(size + (size & 1), io.SEEK_CUR)
    raise AudioError("the WAV header is damaged: too many chunks")


def _parse_format(body: bytes) -> tuple[int, int, int, bool]:
    """Rate, channels, bytes a sample, and whether samples are float."""
    if len(body) < 16:
        raise AudioError("the WAV header is cut")
    tag, channels, rate_hz, _, block_bytes, bits = struct.unpack("<HHIIHH", body[:16])
    if tag == _EXTENSIBLE and len(body) >= 40 and body[26:40] == _GUID_TAIL:
        tag = struct.unpack("<H", body[24:26])[0]
    if tag not in (_PCM, _FLOAT):
        raise UnsupportedWav(f"WAV samples of format 0x{tag:04x}")
    sample_bytes = (bits + 7) // 8
    valid = (4, 8) if tag == _FLOAT else (1, 2, 3, 4)
    if not (
        1 <= channels <= _MOST_CHANNELS
        and sample_bytes in valid
        and block_bytes == channels * sample_bytes
        and rate_hz > 0
    ):
        raise AudioError(
            f"the WAV header is damaged: {channels} channels, {bits} bits, {rate_hz} Hz"
        )
    return rate_hz, channels, sample_bytes, tag == _FLOAT
