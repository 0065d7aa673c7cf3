import numpy as np
import pytest

from edge_ser.errors import ConfigError
from edge_ser.vad import EnergyDetector, Gate, GateSettings, make_detector
from voice import RATE_HZ, hiss, voice

DETECTORS = ["energy", "webrtc"]


def opened(samples, settings) -> list[float]:
    """Times in seconds at which the gate turned."""
    gate = Gate(make_detector(settings, RATE_HZ), RATE_HZ, settings)
    turns, was_open = [], False
    for start in range(0, len(samples) - 1599, 1600):
        if gate.push(samples[start : start + 1600]) != was_open:
            was_open = not was_open
            turns.append((start + 1600) / RATE_HZ)
    return turns


@pytest.mark.parametrize("detector", DETECTORS)
def test_opens_soon_and_closes_after_the_hold(detector):
    samples = np.concatenate([hiss(3), voice(140, 2), hiss(3)])
    samples += hiss(len(samples) / RATE_HZ, seed=3)
    settings = GateSettings(detector=detector, hold_s=0.6)
    begin, end = opened(samples, settings)
    assert 3 < begin <= 3.5
    assert 5.4 <= end <= 6.5


@pytest.mark.parametrize("detector", DETECTORS)
@pytest.mark.parametrize("level", [0, 1e-4, 5e-4])
def test_stays_shut_in_a_quiet_room(detector, level):
    assert opened(hiss(20, level), GateSettings(detector=detector)) == []


def test_steady_noise_becomes_background():
    turns = opened(
        np.concatenate([hiss(5, 1e-4), hiss(60, 0.02)]), GateSettings(detector="energy")
    )
    assert len(turns) == 2
    assert turns[1] < 45


def test_speech_from_the_first_moment_on():
    detector = EnergyDetector()
    frames = voice(140, 1).reshape(-1, 320)
    assert detector.voiced(frames).mean() > 0.5


def test_pauses_between_words_do_not_close_it():
    words = [voice(140, 0.5, seed=1), hiss(0.4), voice(140, 0.5, seed=2), hiss(2)]
    turns = opened(np.concatenate([hiss(1), *words]), GateSettings(detector="energy"))
    assert len(turns) == 2


@pytest.mark.parametrize(
    "values",
    [
        {"detector": "magic"},
        {"open_share": 0.1, "close_share": 0.5},
        {"hold_s": -1},
        {"speech": 1.0},
        {"least_dbfs": 3.0},
    ],
)
def test_wrong_settings(values):
    with pytest.raises(ConfigError, match=next(iter(values))):
        GateSettings(**values)


def test_webrtc_at_an_odd_rate():
    with pytest.raises(ConfigError, match="44100"):
        make_detector(GateSettings(detector="webrtc"), 44100)
    assert isinstance(make_detector(GateSettings(), 44100), EnergyDetector)


def test_webrtc_missing(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "_webrtcvad", None)
    with pytest.raises(ConfigError, match="pip install webrtcvad-wheels"):
        make_detector(GateSettings(detector="webrtc"), 16000)
