"""Bundles: what was written is read, and nothing else is."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_ser import archive, bundle
from edge_ser.bundle import Card
from edge_ser.classifier import Classifier
from edge_ser.errors import BundleError
from edge_ser.features import FeatureSpec
from edge_ser.interpreter import Interpreter
from tiny_model import TINY_MODEL

DATA = TINY_MODEL.read_bytes()
TINY = bundle.read(TINY_MODEL)
texts = st.text(max_size=30)
values = st.dictionaries(texts, st.one_of(texts, st.integers(), st.booleans()))


def with_card(**changes) -> bytes:
    return bundle.pack(dataclasses.replace(TINY.card, **changes), TINY.model)


def with_json(text: bytes) -> bytes:
    return TINY.model + archive.tail("card.json", text, len(TINY.model))


@settings(deadline=None)
@given(
    labels=st.lists(texts.filter(bool), min_size=2, max_size=8, unique=True),
    name=texts,
    version=texts,
    temperature=st.floats(0.01, 100),
    training_data=st.lists(values, max_size=3),
    measured=st.lists(values, max_size=3),
    model=st.binary(max_size=500),
)
def test_round_trip(labels, name, version, temperature, training_data, measured, model):
    card = Card(
        name=name,
        version=version,
        labels=tuple(labels),
        features=FeatureSpec(),
        hop_frames=50,
        quantization="int8",
        temperature=temperature,
        thresholds={labels[0]: 0.5},
        training_data=tuple(training_data),
        measured=tuple(measured),
    )
    data = bundle.pack(card, b"\x1c\0\0\0TFL3" + model)
    assert data == bundle.pack(card, b"\x1c\0\0\0TFL3" + model)
    read = bundle.unpack(data)
    assert read.card == card
    assert read.model == b"\x1c\0\0\0TFL3" + model


def test_written_whole(tmp_path):
    path = tmp_path / "copy.tflite"
    bundle.write(path, TINY.card, TINY.model)
    assert path.read_bytes() == DATA
    assert [file.name for file in tmp_path.iterdir()] == ["copy.tflite"]
    with pytest.raises(BundleError, match="cannot be written"):
        bundle.write(tmp_path / "missing" / "x.tflite", TINY.card, TINY.model)


def test_the_interpreter_takes_the_whole_file():
    """The convention: a TFLite runtime ignores the archive at the end."""
    assert Interpreter(DATA).input_shape == Interpreter(TINY.model).input_shape


def test_any_altered_byte_is_noticed():
    for position in range(0, len(DATA), 7):
        altered = bytearray(DATA)
        altered[position] ^= 0x20
        with pytest.raises(BundleError):
            bundle.unpack(bytes(altered))


def test_any_cut_is_noticed():
    for length in [*range(0, len(DATA), 97), len(DATA) - 1]:
        with pytest.raises(BundleError):
            bundle.unpack(DATA[:length])
    with pytest.raises(BundleError):
        bundle.unpack(DATA + b"\0")


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"format_version": 2}, "format 2"),
        ({"labels": ("a",)}, "labels"),
        ({"labels": ("a", "a")}, "labels"),
        ({"labels": ("a", "")}, "labels"),
        ({"labels": ("a", "idle")}, "labels"),
        ({"labels": ("uncertain", "a")}, "labels"),
        ({"hop_frames": 0}, "hop"),
        ({"hop_frames": 65}, "hop"),
        ({"hop_frames": 2.5}, "hop"),
        ({"temperature": 0.0}, "temperature"),
        ({"temperature": "warm"}, "temperature"),
        ({"thresholds": {"loud": 0.5}}, "thresholds"),
        ({"thresholds": {"low": 2.0}}, "thresholds"),
        ({"thresholds": ["low"]}, "thresholds"),
        ({"name": 7}, "name"),
        ({"thresholds": {"low": "0.5"}}, "thresholds"),
        ({"thresholds": {"low": float("nan")}}, "thresholds"),
        ({"thresholds": {"low": True}}, "thresholds"),
        ({"temperature": True}, "temperature"),
        ({"temperature": 10**400}, "temperature"),
        ({"hop_frames": True}, "hop_frames"),
        ({"hop_frames": 10**400}, "hop_frames"),
        ({"labels": "abc"}, "labels"),
        ({"labels": (("a",), ("b",), ("c",))}, "labels"),
        ({"labels": None}, "labels"),
        ({"quantization": None}, "quantization"),
        ({"training_data": (1, 2)}, "training_data"),
        ({"training_data": {"a": 1}}, "training_data"),
        ({"measured": ("accuracy",)}, "measured"),
        ({"measured": ({"f1": float("nan")},)}, "measured"),
        ({"calibration": {"clips": float("inf")}}, "calibration"),
        ({"calibration": []}, "calibration"),
        ({"intended_use": ["all"]}, "intended_use"),
        ({"licence": 0}, "licence"),
        ({"format_version": 1.0}, "format 1.0"),
        ({"format_version": True}, "format True"),
        ({"features": FeatureSpec(padding="center")}, "stream"),
        ({"features": FeatureSpec(normalisation="stored")}, "stream"),
    ],
)
def test_a_card_that_does_not_fit(changes, word):
    with pytest.raises(BundleError, match=word):
        bundle.unpack(with_card(**changes))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n_mels", 64.0),
        ("n_fft", 512.0),
        ("n_mfcc", 40.0),
        ("top_db", "x"),
        ("liftering", {}),
        ("liftering", float("nan")),
        ("mean", ["a"]),
        ("std", [float("nan")]),
        ("sample_rate_hz", 16000.5),
        ("sample_rate_hz", 10**400),
        ("deltas", True),
        ("f_max_hz", 10**400),
    ],
)
def test_a_feature_spec_that_is_wrong(field, value):
    card = json.loads(zipfile.ZipFile(io.BytesIO(DATA)).read("card.json"))
    card["features"][field] = value
    with pytest.raises(BundleError, match=f"FeatureSpec: {field} is"):
        bundle.unpack(with_json(json.dumps(card).encode()))


def test_numbers_and_characters_that_json_does_not_have():
    card = json.loads(zipfile.ZipFile(io.BytesIO(DATA)).read("card.json"))
    text = json.dumps(card | {"calibration": {"clips": "HERE"}})
    for value in ("NaN", "-Infinity", "1e999", '"\\ud800"', '{"\\ud800": 1}'):
        with pytest.raises(BundleError, match="calibration"):
            bundle.unpack(with_json(text.replace('"HERE"', value).encode()))


def test_labels_that_do_not_fit_the_output(tmp_path):
    path = tmp_path / "two.tflite"
    path.write_bytes(with_card(labels=("low", "high")))
    with pytest.raises(BundleError, match="3 outputs, but its card names 2"):
        Classifier.load(path)
    path.write_bytes(with_card(features=FeatureSpec(n_mfcc=None)))
    with pytest.raises(BundleError, match="but its card says"):
        Classifier.load(path)


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"", "not a TFLite"),
        (b"RIFF____WAVE", "not a TFLite"),
        (TINY.model, "plain .tflite"),
        (with_json(b"{}"), "format None"),
        (with_json(b"[1]"), "JSON object"),
        (with_json(b"{"), "damaged"),
        (with_json(b"[" * 100_000), "damaged"),
        (with_json(b'{"x":"' + b"a" * (1 << 20) + b'"}'), "1 MiB"),
    ],
)
def test_files_that_are_none(data, word):
    with pytest.raises(BundleError, match=word):
        bundle.unpack(data)


def test_unknown_field_is_named():
    values = json.loads(zipfile.ZipFile(io.BytesIO(DATA)).read("card.json"))
    values["colour"] = "red"
    text = json.dumps(values, indent=1, ensure_ascii=False, sort_keys=True)
    tail = archive.tail("card.json", text.encode(), len(TINY.model))
    with pytest.raises(BundleError, match="colour"):
        bundle.unpack(TINY.model + tail)


@given(text=st.binary(max_size=200), start=st.integers(0, 5000))
def test_the_archive_is_what_zipfile_writes_and_reads(text, start):
    head = bytes(start)
    data = head + archive.tail("card.json", text, start)
    assert zipfile.ZipFile(io.BytesIO(data)).read("card.json") == text
    info = zipfile.ZipInfo("card.json", (1980, 1, 1, 0, 0, 0))
    info.create_system = 3
    file = io.BytesIO(head)
    file.seek(0, io.SEEK_END)
    with zipfile.ZipFile(file, "a", zipfile.ZIP_STORED) as writer:
        writer.writestr(info, text)
    assert file.getvalue() == data
    assert archive.split(data, "card.json") == (start, text)


def test_missing_and_huge_files(tmp_path):
    with pytest.raises(BundleError, match="cannot be read"):
        bundle.read(tmp_path / "none.tflite")
    with pytest.raises(BundleError, match="cannot be read"):
        bundle.read(tmp_path)
    huge = tmp_path / "huge.tflite"
    with huge.open("wb") as file:
        file.truncate((64 << 20) + 1)
    with pytest.raises(BundleError, match="64 MiB"):
        bundle.read(huge)
    with pytest.raises(BundleError, match="cannot be read"):
        bundle.read("a\0b")


def test_what_is_no_regular_file(tmp_path):
    """A device may never end, and a pipe may never begin."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in ("/dev/zero", pipe):
        with pytest.raises(BundleError, match="no regular file"):
            bundle.read(path)


@pytest.mark.parametrize("name", bundle.SHIPPED)
def test_what_ships_answers_to_its_name(name):
    assert bundle.read(name).card.name == f"edge-ser-{name}"
    sounds = np.random.default_rng(0).normal(0, 0.1, 48_000).astype(np.float32)
    answer = Classifier.load(name).classify(sounds, 16_000)
    assert set(answer.probabilities) == set(bundle.read(name).card.labels)


def test_what_lies_about_is_not_taken_for_what_ships(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nano").write_bytes(DATA)
    (tmp_path / "standard").mkdir()
    assert bundle.read("nano").card.name == "edge-ser-nano"
    assert bundle.read("standard").card.name == "edge-ser-standard"
    assert bundle.read("./nano").card.name == "tiny"
    with pytest.raises(BundleError, match="one that ships: standard, nano, open, mfcc"):
        bundle.read("nan")
