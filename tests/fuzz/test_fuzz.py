"""Damaged sound files and bundles: documented errors only, no crash, bounded memory.

``make fuzz`` runs 100,000 cases; EDGE_SER_FUZZ_CASES sets how many each test takes.
"""

from __future__ import annotations

import io
import json
import os
import pathlib
import struct
import tempfile
import tracemalloc
import wave
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_ser import archive, bundle
from edge_ser.audio.file import read_blocks
from edge_ser.errors import AudioError, BundleError
from edge_ser.features import model_input
from tiny_model import TINY_MODEL

CASES = int(os.environ.get("EDGE_SER_FUZZ_CASES", "500"))
BUNDLE = TINY_MODEL.read_bytes()
TAIL = len(bundle.read(TINY_MODEL).model)
CARD = json.loads(zipfile.ZipFile(io.BytesIO(BUNDLE)).read("card.json"))
CARD_FIELDS, SPEC_FIELDS = sorted(CARD), sorted(CARD["features"])
fuzzing = settings(
    max_examples=CASES,
    deadline=5000,
    suppress_health_check=list(HealthCheck),
    database=None,
)


def pcm_wav(channels: int, width: int, rate_hz: int, frames: int) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(channels)
        writer.setsampwidth(width)
        writer.setframerate(rate_hz)
        random = np.random.default_rng(frames)
        writer.writeframes(random.bytes(channels * width * frames))
    return file.getvalue()


def chunk(name: bytes, body: bytes, size: int | None = None) -> bytes:
    return name + struct.pack("<I", len(body) if size is None else size) + body


u16, u32 = st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF)
fmt_bodies = st.builds(
    lambda *fields: struct.pack("<HHIIHH", *fields[:6]) + fields[6],
    st.sampled_from([0, 1, 2, 3, 6, 7, 17, 0xFFFE, 0xFFFF]),
    st.one_of(st.integers(0, 9), u16),
    st.one_of(st.sampled_from([0, 8000, 16000, 44100, 96000, 191999]), u32),
    u32,
    u16,
    st.one_of(st.sampled_from([0, 1, 8, 12, 16, 24, 32, 64]), u16),
    st.binary(max_size=24),
)
chunks = st.one_of(
    st.builds(chunk, st.just(b"fmt "), fmt_bodies, st.one_of(st.none(), u32)),
    st.builds(
        chunk, st.just(b"data"), st.binary(max_size=2000), st.one_of(st.none(), u32)
    ),
    st.builds(
        chunk,
        st.sampled_from([b"LIST", b"fact", b"id3 ", b"\0\0\0\0"]),
        st.binary(max_size=40),
        st.one_of(st.none(), u32),
    ),
)
wav_files = st.one_of(
    st.builds(
        lambda parts, size: (
            b"RIFF" + struct.pack("<I", size) + b"WAVE" + b"".join(parts)
        ),
        st.lists(chunks, max_size=5),
        u32,
    ),
    st.binary(max_size=300),
    st.builds(
        lambda magic, body: magic + body,
        st.sampled_from(
            [b"fLaC", b"OggS", b"FORM", b".snd", b"ID3\x03", b"caff", b"RF64"]
        ),
        st.binary(max_size=300),
    ),
)
edits = st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), max_size=8)


def edited(data: bytes, changes: list[tuple[int, int]], length: int) -> bytes:
    array = bytearray(data)
    for position, value in changes:
        array[position % len(array)] = value
    return bytes(array[: max(1, length % (len(array) + 1))]) if length else bytes(array)


@pytest.fixture(scope="module")
def folder():
    # In memory where the system has it: the disk would be the slowest part.
    shared = pathlib.Path("/dev/shm")
    where = shared if os.access(shared, os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=where) as name:
        yield pathlib.Path(name)


def hear(folder: pathlib.Path, data: bytes) -> None:
    path = folder / "case.wav"
    path.write_bytes(data)
    samples = 0
    try:
        for block in read_blocks(path, 16000):
            assert block.dtype == np.float32
            assert np.isfinite(block).all()
            samples += len(block)
    except AudioError as error:
        assert str(path) in str(error)
        assert "\n" not in str(error)


@fuzzing
@given(data=wav_files)
def test_made_up_sound_files(folder, data):
    hear(folder, data)


@fuzzing
@given(
    channels=st.integers(1, 3),
    width=st.integers(1, 4),
    rate_hz=st.sampled_from([8000, 16000, 44100, 191999]),
    frames=st.integers(0, 3000),
    changes=edits,
    length=st.one_of(st.just(0), st.integers(1, 20000)),
)
def test_damaged_wav(folder, channels, width, rate_hz, frames, changes, length):
    hear(folder, edited(pcm_wav(channels, width, rate_hz, frames), changes, length))


@fuzzing
@given(
    changes=edits.filter(bool),
    length=st.one_of(st.just(0), st.integers(1, len(BUNDLE))),
)
def test_damaged_bundle(changes, length):
    data = edited(BUNDLE, changes, length)
    try:
        read = bundle.unpack(data)
    except BundleError as error:
        assert "\n" not in str(error)
    else:
        assert data == BUNDLE
        assert read.card.name == "tiny"


@fuzzing
@given(
    changes=edits.filter(bool),
    extra=st.binary(max_size=50),
    place=st.sampled_from(["end", "tail", "start"]),
)
def test_damaged_archive(changes, extra, place):
    tail = edited(BUNDLE[TAIL:], changes, 0)
    data = {
        "end": BUNDLE[:TAIL] + tail + extra,
        "tail": BUNDLE[:TAIL] + extra + tail,
        "start": extra + BUNDLE[:TAIL] + tail,
    }[place]
    try:
        bundle.unpack(data)
    except BundleError as error:
        assert "\n" not in str(error)
    else:
        assert data == BUNDLE


odd_values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-3, 600),
        st.just(10**400),
        st.floats(),
        st.text(st.characters(), max_size=20),
        st.sampled_from(["hann", "none", "stored", "low", "\ud800", "a\nb"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.text(max_size=8), inner, max_size=4),
    ),
    max_leaves=12,
)


@fuzzing
@given(
    fields=st.dictionaries(st.sampled_from(CARD_FIELDS), odd_values, max_size=3),
    features=st.dictionaries(st.sampled_from(SPEC_FIELDS), odd_values, max_size=3),
    extra=st.one_of(st.just({}), st.dictionaries(st.text(max_size=8), odd_values)),
)
def test_odd_cards(fields, features, extra):
    """Packed anew, so that no checksum stands before the checks of the values."""
    card = dict(CARD)
    card["features"] = card["features"] | features
    text = json.dumps(card | fields | extra).encode()
    try:
        read = bundle.unpack(BUNDLE[:TAIL] + archive.tail("card.json", text, TAIL))
    except BundleError as error:
        assert "\n" not in str(error)
        str(error).encode()
        return
    spec = read.card.features
    frames = np.zeros((spec.frames_per_window, spec.n_static), np.float32)
    if frames.size < 1 << 20:
        with np.errstate(all="raise", under="ignore"):
            assert np.isfinite(model_input(frames, spec)).all()
    assert read.card.hop_s > 0
    assert read.card.title
    again = bundle.pack(read.card, read.model)
    assert bundle.unpack(again).card == read.card


def test_a_header_that_promises_gigabytes_costs_no_memory(folder):
    body = struct.pack("<HHIIHH", 1, 2, 48000, 192000, 4, 16)
    data = chunk(b"fmt ", body) + chunk(b"data", b"\0" * 4000, 0xFFFFFFF0)
    tracemalloc.start()
    hear(folder, b"RIFF" + struct.pack("<I", 0xFFFFFFFF) + b"WAVE" + data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10_000_000
