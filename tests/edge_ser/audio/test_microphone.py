"""The microphone source over a PyAudio that is not there, busy or odd."""

import sys
import types

import numpy as np
import pytest

from edge_ser.audio.microphone import MicrophoneSource
from edge_ser.audio.portaudio import Microphone, choose
from edge_ser.errors import MicrophoneError


class FakeStream:
    def __init__(self, channels):
        self.channels, self.fails = channels, False

    def read(self, frames, exception_on_overflow):
        if self.fails:
            raise OSError(-9999, "Unanticipated host error")
        return np.full(frames * self.channels, 8192, "<i2").tobytes()

    def close(self):
        if self.fails:
            raise OSError(-9988, "Stream closed")


class FakeAudio:
    """One device, which offers some formats."""

    names = ("USB Array",)
    offered = ((16000, 1),)
    busy = False

    def get_default_input_device_info(self):
        if not self.names:
            raise OSError("No Default Input Device Available")
        return {"index": 0}

    def get_device_count(self):
        return len(self.names)

    def get_device_info_by_index(self, index):
        return {
            "name": self.names[index],
            "maxInputChannels": 2,
            "defaultSampleRate": 48000.0,
        }

    def is_format_supported(self, rate, input_device, input_channels, input_format):
        if (rate, input_channels) not in self.offered:
            raise ValueError("Invalid sample rate", -9997)
        return True

    def open(self, rate, channels, **_):
        if self.busy:
            raise OSError(-9985, "Device unavailable")
        self.opened = (rate, channels)
        self.stream = FakeStream(channels)
        return self.stream

    def terminate(self):
        pass


@pytest.fixture
def audio(monkeypatch):
    audio = FakeAudio()
    module = types.ModuleType("pyaudio")
    module.PyAudio, module.paInt16 = lambda: audio, 8
    monkeypatch.setitem(sys.modules, "pyaudio", module)
    return audio


def test_reads_at_the_models_rate(audio):
    source = MicrophoneSource()
    source.open(16000)
    block = source.read()
    assert audio.opened == (16000, 1)
    assert block.dtype == np.float32
    np.testing.assert_array_equal(block, 0.25)
    source.close()
    source.close()


def test_resamples_what_the_device_offers(audio):
    audio.offered = ((48000, 2),)
    source = MicrophoneSource("array")
    source.open(16000)
    assert audio.opened == (48000, 2)
    samples = np.concatenate([source.read() for _ in range(20)])
    assert len(samples) == pytest.approx(20 * 0.1 * 16000, abs=700)
    np.testing.assert_allclose(samples[200:], 0.25, atol=1e-3)


def test_failure_while_reading(audio):
    source = MicrophoneSource()
    source.open(16000)
    audio.stream.fails = True
    with pytest.raises(MicrophoneError, match="Unanticipated host error"):
        source.read()
    source.close()


def test_busy(audio, run, model):
    audio.busy = True
    run("listen", "--model", model).check_error(5, "USB Array", "Device unavailable")


def test_no_format(audio, run, model):
    audio.offered = ()
    run("listen", "--model", model).check_error(5, "no usable format")


@pytest.mark.parametrize("verb", [("devices",), ("listen",)])
def test_none(audio, run, model, verb):
    audio.names = ()
    extra = ["--model", model] if verb == ("listen",) else []
    run(*verb, *extra).check_error(5, "no microphone found")


def test_no_pyaudio(run, model, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyaudio", None)
    run("listen", "--model", model).check_error(5, "pip install pyaudio")


def test_devices(audio, run):
    audio.names = ("USB Array", "HDMI")
    first, second = run("devices").out.splitlines()
    assert first.split() == ["0", "USB", "Array", "2", "ch", "48000", "Hz", "default"]
    assert second.split()[:2] == ["1", "HDMI"]


LIST = [
    Microphone(0, "default", 2, 44100, True),
    Microphone(2, "USB Audio: front", 1, 48000, False),
    Microphone(4, "USB Audio: rear", 1, 48000, False),
]


@pytest.mark.parametrize(
    ("wanted", "index"), [(None, 0), ("2", 2), ("REAR usb", 4), ("Default", 0)]
)
def test_choice(wanted, index):
    assert choose(LIST, wanted).index == index


def test_choice_by_the_whole_name():
    twins = [*LIST, Microphone(5, "USB Audio: rear left", 1, 48000, False)]
    assert choose(twins, "usb audio: rear").index == 4


def test_ambiguous_lists_the_candidates():
    with pytest.raises(MicrophoneError, match=r"2 'USB Audio: front', 4 'USB") as error:
        choose(LIST, "usb")
    assert "default" not in str(error.value)


@pytest.mark.parametrize("wanted", ["3", "bluetooth"])
def test_no_match_lists_all(wanted):
    with pytest.raises(MicrophoneError, match=r"0 'default', 2 'USB"):
        choose(LIST, wanted)
