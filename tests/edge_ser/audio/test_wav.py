"""Sound files: every PCM layout, other formats by soundfile, channels, flat memory."""

from __future__ import annotations

import builtins
import io
import struct
import tracemalloc
import wave

import numpy as np
import pytest

from edge_ser.audio import wav
from edge_ser.audio.file import read_blocks
from edge_ser.errors import AudioError
from voice import voice

SOUND = voice(140, 1.3)


def chunk(name: bytes, body: bytes, size: int | None = None) -> bytes:
    padding = b"\0" * (len(body) & 1)
    return (
        name + struct.pack("<I", len(body) if size is None else size) + body + padding
    )


def riff(*chunks: bytes, size: int = 0x1000) -> bytes:
    return b"RIFF" + struct.pack("<I", size) + b"WAVE" + b"".join(chunks)


def form(tag: int, bits: int, channels: int = 1, rate_hz: int = 16000) -> bytes:
    width = channels * (bits // 8)
    return struct.pack("<HHIIHH", tag, channels, rate_hz, rate_hz * width, width, bits)


def encode(samples: np.ndarray, bits: int) -> bytes:
    if bits == 8:
        return np.round(samples * 127 + 128).astype(np.uint8).tobytes()
    if bits == 24:
        wide = np.round(samples * (2**23 - 1)).astype("<i4").view(np.uint8)
        return wide.reshape(-1, 4)[:, :3].tobytes()
    return (
        np.round(samples * (2 ** (bits - 1) - 1.0)).astype(f"<i{bits // 8}").tobytes()
    )


@pytest.fixture
def hear(tmp_path):
    def read(data: bytes, **options) -> np.ndarray:
        path = tmp_path / "clip.wav"
        path.write_bytes(data)
        return np.concatenate(list(read_blocks(path, 16000, **options)))

    return read


@pytest.mark.parametrize(
    ("bits", "step"), [(8, 0.01), (16, 1e-4), (24, 1e-6), (32, 1e-6)]
)
@pytest.mark.parametrize("extensible", [False, True])
def test_integer_pcm(hear, bits, step, extensible):
    head = form(1, bits)
    if extensible:
        guid = struct.pack("<H", 1) + wav._GUID_TAIL
        head = form(0xFFFE, bits) + struct.pack("<HHI", 22, bits, 4) + guid
    out = hear(riff(chunk(b"fmt ", head), chunk(b"data", encode(SOUND, bits))))
    assert len(out) == len(SOUND)
    assert np.abs(out - SOUND).max() <= step


@pytest.mark.parametrize("width", [4, 8])
def test_float_samples_need_no_library(hear, width, monkeypatch):
    refuse_soundfile(monkeypatch)
    body = SOUND.astype(f"<f{width}").tobytes()
    out = hear(riff(chunk(b"fmt ", form(3, 8 * width)), chunk(b"data", body)))
    assert np.array_equal(out, SOUND)


def test_float_nan_is_refused_with_its_place(hear):
    body = np.array([0, 0, np.nan], "<f4").tobytes()
    with pytest.raises(AudioError, match="sample 2"):
        hear(riff(chunk(b"fmt ", form(3, 32)), chunk(b"data", body)))


def test_what_the_standard_library_writes(hear):
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((1, 2, 16000, 0, "NONE", ""))
        writer.writeframes(encode(SOUND, 16))
    assert np.abs(hear(file.getvalue()) - SOUND).max() < 1e-4


def test_channels_are_averaged_or_chosen(hear):
    left, right = SOUND, np.roll(SOUND, 500)
    both = np.stack([left, right], 1).reshape(-1)
    for head, body in (
        (form(1, 16, 2), encode(both, 16)),
        (form(3, 32, 2), both.astype("<f4").tobytes()),
    ):
        data = riff(chunk(b"fmt ", head), chunk(b"data", body))
        assert np.abs(hear(data) - (left + right) / 2).max() < 1e-4
        assert np.abs(hear(data, channel=0) - left).max() < 1e-4
        assert np.abs(hear(data, channel=1) - right).max() < 1e-4
        with pytest.raises(AudioError, match="no channel 2; valid: 0 to 1"):
            hear(data, channel=2)


def test_other_chunks_are_passed_over(hear):
    out = hear(
        riff(
            chunk(b"LIST", b"odd length!"),
            chunk(b"fmt ", form(1, 16) + b"\0\0"),
            chunk(b"fact", b"\0\0\0\0"),
            chunk(b"data", encode(SOUND, 16)),
            chunk(b"LIST", b"not audio" * 999),
        )
    )
    assert len(out) == len(SOUND)


@pytest.mark.parametrize("size", [0x7FFFFFFF, 0xFFFFFFFF, 0])
def test_a_length_unknown_to_its_writer_means_the_rest_of_the_file(hear, size):
    data = chunk(b"data", encode(SOUND, 16), size)
    out = hear(riff(chunk(b"fmt ", form(1, 16)), data, size=size))
    assert len(out) == len(SOUND)


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (riff(), "no format chunk"),
        (riff(chunk(b"fmt ", form(1, 16))), "no data chunk"),
        (riff(chunk(b"data", b"1234")), "data before the format"),
        (riff(chunk(b"fmt ", b"12")), "cut"),
        (riff(chunk(b"fmt ", form(1, 16, 0)), chunk(b"data", b"")), "damaged"),
        (riff(chunk(b"fmt ", form(1, 16, 1, 0)), chunk(b"data", b"")), "damaged"),
        (riff(chunk(b"fmt ", form(1, 40)), chunk(b"data", b"")), "damaged"),
        (riff(chunk(b"junk", b"") * 2000), "too many chunks"),
        (riff(chunk(b"fmt ", form(1, 16)), chunk(b"data", b"")), "no audio"),
        (
            riff(
                chunk(b"fmt ", form(1, 16)),
                chunk(b"data", b""),
                chunk(b"LIST", b"x" * 99),
            ),
            "no audio",
        ),
        (
            riff(chunk(b"fmt ", form(1, 16)), chunk(b"data", b"ab" * 8000, 64000)),
            "2.00 s",
        ),
        (
            riff(chunk(b"fmt ", form(1, 16, 1, 400)), chunk(b"data", b"ab" * 99)),
            "8000 to 192000",
        ),
    ],
)
def test_damaged_headers(hear, data, word):
    with pytest.raises(AudioError, match=word) as caught:
        hear(data)
    assert "clip.wav: " in str(caught.value)


def refuse_soundfile(monkeypatch) -> None:
    real = builtins.__import__

    def refuse(name, *rest, **options):
        if name == "soundfile":
            raise ImportError("No module named 'soundfile'")
        return real(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", refuse)


@pytest.mark.parametrize("extension", ["flac", "ogg", "mp3"])
def test_other_formats_by_soundfile(tmp_path, extension, monkeypatch):
    soundfile = pytest.importorskip("soundfile")
    path = tmp_path / f"clip.{extension}"
    soundfile.write(path, np.stack([SOUND, SOUND], 1), 16000)
    out = np.concatenate(list(read_blocks(path, 16000)))
    assert abs(len(out) - len(SOUND)) <= 2400  # MP3 adds a frame or two
    refuse_soundfile(monkeypatch)
    with pytest.raises(AudioError, match="pip install soundfile"):
        list(read_blocks(path, 16000))


def test_compressed_wav_goes_to_soundfile(tmp_path):
    soundfile = pytest.importorskip("soundfile")
    path = tmp_path / "law.wav"
    soundfile.write(path, SOUND, 16000, subtype="ULAW")
    out = np.concatenate(list(read_blocks(path, 16000)))
    assert np.abs(out - SOUND).max() < 0.05


def test_an_hour_takes_no_more_memory_than_a_minute(tmp_path):
    path = tmp_path / "long.wav"
    minute = encode(np.tile(SOUND, 50)[: 48000 * 60], 16)
    minute = minute.ljust(48000 * 120, b"\0")
    peaks = []
    for minutes in (1, 20):
        head = chunk(b"fmt ", form(1, 16, 1, 48000))
        with path.open("wb") as file:
            file.write(riff(head) + b"data" + struct.pack("<I", minutes * len(minute)))
            for _ in range(minutes):
                file.write(minute)
        tracemalloc.start()
        samples = sum(map(len, read_blocks(path, 16000)))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert abs(samples - minutes * 960_000) <= 1
    assert peaks[1] < peaks[0] * 1.2
