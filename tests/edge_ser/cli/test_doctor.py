"""`edge-ser doctor`: what it sees, what it advises, and its exit code."""

from __future__ import annotations

import json
import pathlib
import threading
import wave

import numpy as np
import pytest

from edge_ser import diagnosis
from edge_ser.audio import microphone
from edge_ser.cli import doctor
from edge_ser.errors import MicrophoneError
from edge_ser.resample import resample
from voice import hiss, voice

RATE_HZ = 16000


def by_name(checks: list[diagnosis.Check]) -> dict[str, diagnosis.Check]:
    return {check.name: check for check in checks}


def judged(samples: np.ndarray, elapsed_s: float | None = None):
    samples = samples.astype("f4")
    meter = diagnosis.ClippingMeter()
    meter.push(samples[:, None])
    return by_name(diagnosis.judge_sound(samples, RATE_HZ, meter.share, elapsed_s))


def test_a_good_recording():
    checks = judged(voice(140, 2) + hiss(2, 1e-3), 2.0)
    assert {check.status for check in checks.values()} == {diagnosis.OK}
    assert set(checks) == {"level", "clipping", "dc offset", "dropped audio"}


@pytest.mark.parametrize(
    ("samples", "name", "word"),
    [
        (np.zeros(RATE_HZ), "level", "unmute"),
        (hiss(1, 3e-4), "level", "quiet"),
        (np.clip(voice(140, 1) * 20, -1, 1), "clipping", "gain down"),
        (voice(140, 1) * 0.3 + 0.1, "dc offset", "sound card"),
    ],
)
def test_faulty_recordings(samples, name, word):
    check = judged(samples)[name]
    assert check.status == diagnosis.WARNING
    assert word in check.advice


def test_lost_and_missing_sound():
    check = judged(voice(140, 1.5), 2.0)["dropped audio"]
    assert check.status == diagnosis.WARNING
    assert "25%" in check.advice
    silent = judged(np.zeros(0), 2.0)["level"]
    assert (silent.status, silent.exit_code) == (diagnosis.FAILURE, 5)


@pytest.mark.parametrize(
    ("typical_s", "worst_s", "status"),
    [
        (0.01, 0.02, "ok"),
        (0.01, 0.6, "warning"),
        (0.3, 0.3, "warning"),
        (0.5, 0.5, "failure"),
    ],
)
def test_speed(typical_s, worst_s, status):
    assert diagnosis.judge_speed(typical_s, worst_s, 0.5).status == status


@pytest.mark.parametrize(
    ("governor", "degrees", "status", "word"),
    [
        ("ondemand", "50000", "ok", ""),
        ("powersave", "50000", "warning", "scaling_governor"),
        ("ondemand", "85000", "warning", "heat sink"),
        (None, None, "ok", ""),
    ],
)
def test_processor(tmp_path, governor, degrees, status, word):
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text("Features\t: fp asimd asimddp\n")
    for path, text in (
        ("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", governor),
        ("sys/class/thermal/thermal_zone0/temp", degrees),
    ):
        if text is not None:
            (tmp_path / path).parent.mkdir(parents=True)
            (tmp_path / path).write_text(text + "\n")
    check = diagnosis.check_processor(tmp_path)
    assert check.status == status
    assert word in check.advice
    assert "asimddp" in check.found


def test_debians_own_numpy_is_left_alone(monkeypatch):
    monkeypatch.setattr(diagnosis.platform, "machine", lambda: "aarch64")
    monkeypatch.setattr(diagnosis.np, "__version__", "1.24.2")
    for folder, advised in (
        ("/usr/lib/python3/dist-packages", False),
        ("/srv/venv/lib/python3.11/site-packages", True),
    ):
        monkeypatch.setattr(diagnosis.np, "__file__", f"{folder}/numpy/__init__.py")
        assert bool(diagnosis.check_numpy().advice) == advised


def test_without_microphone(run, model):
    answer = run("doctor", "--no-microphone", "--model", model)
    assert answer.code == 0, answer.out
    names = [line.split()[1] for line in answer.out.splitlines() if line[0] != " "]
    assert names == ["interpreter", "numpy", "processor", "model", "speed"]


def test_json_and_a_recording(run, model, recording):
    answer = run("doctor", "--json", "--file", recording, "--model", model)
    assert answer.code == 0
    checks = [json.loads(line) for line in answer.out.splitlines()]
    assert {"name", "status", "found", "advice"} == set(checks[0])
    assert [check["name"] for check in checks[-4:]] == [
        *("recording", "level", "clipping", "dc offset")
    ]


@pytest.mark.parametrize("rate_hz", [16000, 44100])
def test_one_clipped_channel_of_two(run, model, tmp_path, rate_hz):
    """Neither the average of both nor a change of the rate hides it."""
    sound = resample(voice(140, 2), 16000, rate_hz)
    frames = np.stack([sound * 0.1, np.clip(sound * 20, -1, 1)], 1)
    path = tmp_path / "stereo.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((2, 2, rate_hz, 0, "NONE", ""))
        file.writeframes(np.round(frames * 32767).astype("<i2").tobytes())
    answer = run("doctor", "--json", "--file", path, "--model", model)
    checks = {each["name"]: each for each in map(json.loads, answer.out.splitlines())}
    assert checks["clipping"]["status"] == "warning"
    assert "gain down" in checks["clipping"]["advice"]
    assert answer.code == 0


def test_an_altered_model(run, model, tmp_path):
    data = bytearray(pathlib.Path(model).read_bytes())
    data[3000] ^= 1
    path = tmp_path / "altered.tflite"
    path.write_bytes(data)
    answer = run("doctor", "--no-microphone", "--model", path)
    assert answer.code == 3
    assert "SHA-256" in answer.out
    assert "speed" not in answer.out


def test_a_missing_recording(run, model, tmp_path):
    answer = run("doctor", "--file", tmp_path / "none.wav", "--model", model)
    assert answer.code == 4


def test_wrong_usage(run):
    run("doctor", "--seconds", "0").check_error(2, "--seconds", "0.1 to 60")
    assert run("doctor", "--no-microphone", "--interpreter", "x").code == 2


class Microphone:
    """A microphone of computed sound, as fast as it is read."""

    name = "microphone 0 'fake'"

    def __init__(self, device, *, watch):
        self.reads = 0
        self.watch = watch

    def open(self, rate_hz):
        pass

    def read(self):
        self.reads += 1
        sound = voice(140, 0.032, seed=self.reads)
        self.watch(np.stack([sound, np.ones_like(sound)], 1))
        return sound

    def close(self):
        pass


def test_a_microphone(run, model, monkeypatch):
    monkeypatch.setattr(microphone, "MicrophoneSource", Microphone)
    answer = run("doctor", "--seconds", "0.1", "--model", model)
    assert answer.code == 0
    assert "fake" in answer.out
    assert "dropped audio" in answer.out
    assert "100.000% of the samples" in answer.out  # of the second channel


def test_no_microphone(run, model, monkeypatch):
    class Missing(Microphone):
        def open(self, rate_hz):
            raise MicrophoneError("no microphone found; plug one in")

    monkeypatch.setattr(microphone, "MicrophoneSource", Missing)
    answer = run("doctor", "--model", model)
    assert answer.code == 5
    assert "plug one in" in answer.out


def test_a_sound_server_that_hangs(run, model, monkeypatch):
    forever = threading.Event()

    class Hung(Microphone):
        def read(self):
            forever.wait()

    class Left(BaseException):
        pass

    def leave(code):
        raise Left(code)

    monkeypatch.setattr(microphone, "MicrophoneSource", Hung)
    monkeypatch.setattr(doctor, "_PATIENCE_S", 0.2)
    monkeypatch.setattr(doctor.os, "_exit", leave)
    with pytest.raises(Left) as left:
        run("doctor", "--seconds", "0.1", "--model", model)
    assert left.value.args == (5,)
    forever.set()
