"""Fixtures for the device package."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import wave

import numpy as np
import numpy.typing as npt
import pytest

from edge_ser import cli
from edge_ser.classifier import Classifier
from edge_ser.event import Event
from tiny_model import TINY_MODEL
from voice import RATE_HZ, hiss, voice

Float32 = npt.NDArray[np.float32]

# The computed voices of these tests are no speech to the speech model.
ANY_SOUND = ("EDGE_SER_GATE_SPEECH", "0")


def _write_wav(path: pathlib.Path, samples: Float32, rate_hz: int = RATE_HZ) -> None:
    """16-bit mono."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(np.round(samples * 32767).astype("<i2").tobytes())


@pytest.fixture(scope="session")
def write_wav():
    """Writes 16-bit mono: ``write_wav(path, samples, rate_hz)``."""
    return _write_wav


@pytest.fixture(scope="session")
def model() -> str:
    """Path of a bundle that tells low, middle and high voices."""
    return str(TINY_MODEL)


@pytest.fixture(scope="session")
def classifier(model: str) -> Classifier:
    return Classifier.load(model)


@pytest.fixture(scope="session")
def conversation() -> Float32:
    """2 s of a quiet room, a low voice for 3 s, 4 s, a high one for 3 s, 4 s."""
    parts = [hiss(2), voice(100, 3), hiss(4), voice(320, 3), hiss(4)]
    samples = np.concatenate(parts)
    return samples + hiss(len(samples) / RATE_HZ, seed=1)


@pytest.fixture(scope="session")
def recording(
    conversation: Float32, tmp_path_factory: pytest.TempPathFactory
) -> pathlib.Path:
    """`conversation` as a WAV file."""
    path = tmp_path_factory.mktemp("audio") / "conversation.wav"
    _write_wav(path, conversation)
    return path


@pytest.fixture
def low_voice(tmp_path: pathlib.Path) -> pathlib.Path:
    """Two seconds of a low voice as a WAV file."""
    path = tmp_path / "low.wav"
    _write_wav(path, voice(100, 2))
    return path


class Answer:
    """What a command line gave back."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    def check_error(self, code: int, *words: str) -> None:
        """One line of error with these words, and the exit code."""
        assert self.code == code, self.err
        lines = [line for line in self.err.splitlines() if line.startswith("edge-ser:")]
        assert len(lines) == 1, self.err
        assert "Traceback" not in self.err
        for word in words:
            assert word in lines[0]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Runner:
    for name in list(os.environ):
        if name.startswith("EDGE_SER_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv(*ANY_SOUND)
    return Runner(capfd)


class Runner:
    """Calls `main` in this process."""

    def __init__(self, capfd: pytest.CaptureFixture[str]) -> None:
        self._capfd = capfd

    def __call__(self, *arguments: str | pathlib.Path) -> Answer:
        self._capfd.readouterr()
        code = cli.main([str(argument) for argument in arguments])
        captured = self._capfd.readouterr()
        return Answer(code, captured.out, captured.err)


@pytest.fixture
def run_process():
    """Runs `python -m edge_ser` as a process of its own."""

    def start(*arguments, env=None, **options):
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("EDGE_SER_")
        }
        return subprocess.run(
            [sys.executable, "-m", "edge_ser", *map(str, arguments)],
            capture_output=True,
            timeout=60,
            env=environment | dict([ANY_SOUND]) | (env or {}),
            **options,
        )

    return start


@pytest.fixture
def make_event():
    """Makes an event; any field may be given."""

    def make(**fields):
        values = {
            "time_s": 0.0,
            "label": "happy",
            "confidence": 0.75,
            "probabilities": {"happy": 0.75, "sad": 0.25},
            "duration_s": 1.5,
            "device": "kitchen",
            "model": "tiny 1",
        }
        return Event(**(values | fields))

    return make
