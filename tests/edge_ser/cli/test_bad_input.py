"""Every malformed input: one line of error and its exit code."""

import json
import os
import pathlib
import struct
import wave

import numpy as np
import pytest

from edge_ser import config
from edge_ser.errors import ConfigError
from voice import RATE_HZ, voice


@pytest.fixture(params=["classify", "listen"])
def hear(request, run, model):
    """Give a file to both verbs that take one."""
    if request.param == "classify":
        return lambda path: run("classify", "--model", model, path)
    return lambda path: run("listen", "--model", model, "--file", path)


def test_missing(hear):
    hear("/no/such.wav").check_error(4, "/no/such.wav")


def test_folder(hear, tmp_path):
    hear(tmp_path).check_error(4, "folder")


def test_empty(hear, tmp_path):
    path = tmp_path / "empty.wav"
    path.touch()
    hear(path).check_error(4, str(path), "empty")


def test_truncated(hear, low_voice):
    low_voice.write_bytes(low_voice.read_bytes()[:20000])
    hear(low_voice).check_error(4, "truncated", "2.00 s")


def test_cut_header(hear, low_voice):
    low_voice.write_bytes(low_voice.read_bytes()[:30])
    hear(low_voice).check_error(4, str(low_voice))


def test_not_audio(hear, tmp_path):
    path = tmp_path / "text.wav"
    path.write_text("this is no sound at all\n" * 100)
    hear(path).check_error(4, str(path), "not a sound file")


def test_zero_length(hear, tmp_path):
    path = tmp_path / "zero.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, RATE_HZ, 0, "NONE", ""))
    hear(path).check_error(4, str(path), "zero length")


def test_shorter_than_a_frame(run, model, tmp_path, write_wav):
    path = tmp_path / "click.wav"
    write_wav(path, voice(100, 0.01))
    run("classify", "--model", model, path).check_error(4, str(path))


def test_nan(hear, tmp_path):
    soundfile = pytest.importorskip("soundfile")
    path = tmp_path / "nan.wav"
    samples = voice(100, 1)
    samples[500] = np.nan
    soundfile.write(path, samples, RATE_HZ, subtype="FLOAT")
    hear(path).check_error(4, str(path), "NaN", "500")


def test_impossible_rate(hear, tmp_path, write_wav):
    path = tmp_path / "slow.wav"
    write_wav(path, voice(100, 1), 100)
    hear(path).check_error(4, str(path), "100 Hz")


def test_damaged_wav_header(hear, low_voice):
    data = bytearray(low_voice.read_bytes())
    data[24:28] = struct.pack("<I", 0)  # sample rate
    low_voice.write_bytes(data)
    hear(low_voice).check_error(4, str(low_voice))


def test_flac_without_soundfile_says_what_to_install(hear, tmp_path, monkeypatch):
    import sys

    path = tmp_path / "clip.flac"
    path.write_bytes(b"fLaC" + bytes(100))
    monkeypatch.setitem(sys.modules, "soundfile", None)
    hear(path).check_error(4, "pip install soundfile")


@pytest.mark.parametrize(
    "verb", [("classify", "CLIP"), ("listen", "--file", "CLIP"), ("info",)]
)
@pytest.mark.parametrize("damage", ["flip", "cut", "text", "missing"])
def test_bad_bundle(run, model, low_voice, tmp_path, verb, damage):
    path = tmp_path / "bad.tflite"
    data = bytearray(pathlib.Path(model).read_bytes())
    if damage == "flip":
        data[2000] ^= 1
    elif damage == "cut":
        del data[-100:]
    elif damage == "text":
        data[:] = b"no model"
    if damage != "missing":
        path.write_bytes(data)
    arguments = [str(low_voice) if word == "CLIP" else word for word in verb]
    arguments += [str(path)] if verb == ("info",) else ["--model", str(path)]
    run(*arguments).check_error(3, str(path))


def test_labels_that_do_not_fit(run, model, low_voice, tmp_path):
    import dataclasses

    from edge_ser import bundle

    good = bundle.read(model)
    path = tmp_path / "labels.tflite"
    card = dataclasses.replace(good.card, labels=("a", "b"))
    path.write_bytes(bundle.pack(card, good.model))
    run("classify", "--model", path, low_voice).check_error(3, "3 outputs", "a, b")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("modle = 'x'", ("'modle'", "did you mean 'model'?")),
        ("[source]\nmicrofone = 1", ("did you mean 'source.microphone'?",)),
        ("[decision]\nhold_s = 1", ("did you mean 'gate.hold_s'?",)),
        ("[decision]\nsmoothing_s = -1", ("decision.smoothing_s is -1", "valid: 0")),
        ("[mqtt]\nport = 99999", ("edge-ser: mqtt.port is 99999", "valid: 1")),
        ("[decision]\ndwell_s = -1", ("dwell_s is -1", "0 to 3600")),
        ("[decision]\ndwell_s = 'long'", ("decision.dwell_s", "a number")),
        ("source = 1", ("source is a table",)),
        ("[source", ("not valid TOML",)),
        ("[source]\nfile='a'\npipe='b'", ("file and pipe",)),
        ("[source]\nmicrophone = ''", ("source.microphone is empty; give a",)),
        ("[json_file]\npath = ''", ("json_file.path is empty",)),
    ],
)
def test_bad_config(run, model, tmp_path, text, words):
    path = tmp_path / "config.toml"
    path.write_text(text)
    run("listen", "--model", model, "--config", path).check_error(2, *words)


def test_missing_config(run):
    run("listen", "--config", "/no/config.toml").check_error(2, "/no/config.toml")


def test_bad_variable(run, monkeypatch):
    monkeypatch.setenv("EDGE_SER_DECISION_DWEL_S", "1")
    run("listen").check_error(2, "EDGE_SER_DECISION_DWELL_S")


@pytest.mark.parametrize(
    "arguments",
    [(), ("sing",), ("classify",), ("listen", "--nope"), ("info", "a", "b")],
)
def test_wrong_usage(run, arguments):
    run(*arguments).check_error(2, "--help")


@pytest.mark.parametrize("verb", ["classify", "listen", "devices", "info"])
def test_help_has_examples(capsys, verb):
    from edge_ser import cli

    with pytest.raises(SystemExit) as exit_:
        cli.main([verb, "--help"])
    assert exit_.value.code == 0
    assert f"edge-ser {verb}" in capsys.readouterr().out.split("Examples:")[1]


def test_debug_shows_the_traceback(run):
    answer = run("info", "/no/model", "--debug")
    assert answer.code == 3
    assert "Traceback" in answer.err


def test_internal_error_is_one_line(run, monkeypatch):
    from edge_ser import bundle

    monkeypatch.setattr(bundle, "read", lambda _path: 1 / 0)
    run("info").check_error(1, "internal error", "--debug")


def test_json_of_info(run, model):
    card = json.loads(run("info", "--json", model).out)
    assert card["labels"] == ["low", "middle", "high"]
    assert len(card["sha256"]) == 64


def test_pipes_are_refused_at_once(hear, tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    hear(fifo).check_error(4, f"{fifo}: is no regular file", "--pipe")


def test_nan_beyond_the_first_block(hear, tmp_path):
    soundfile = pytest.importorskip("soundfile")
    path = tmp_path / "nan.wav"
    samples = voice(100, 4)
    samples[50_123] = np.nan
    soundfile.write(path, samples, RATE_HZ, subtype="FLOAT")
    hear(path).check_error(4, "first at sample 50123")


def test_errors_begin_with_the_path_as_given(run, model, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    pathlib.Path("cut.wav").write_bytes(b"RIFF")
    answer = run("classify", "--model", model, "./cut.wav")
    assert answer.err.startswith("edge-ser: ./cut.wav: ")
    assert answer.err.count("cut.wav") == 1


def test_a_name_that_the_message_holds_anyway(
    run, model, monkeypatch, tmp_path, write_wav
):
    monkeypatch.chdir(tmp_path)
    write_wav(pathlib.Path("ms"), voice(100, 0.01))
    answer = run("classify", "--model", model, "ms")
    answer.check_error(4)
    assert answer.err.startswith("edge-ser: ms: ")


def test_debug_goes_on_with_the_batch(run, model, low_voice):
    answer = run("classify", "--debug", "--json", "--model", model, "/no", low_voice)
    assert answer.code == 4
    assert "Traceback" in answer.err
    assert json.loads(answer.out)["label"] == "low"


@pytest.mark.parametrize(
    "arguments",
    [
        ("classify", "--timeline", "--step", "inf"),
        ("classify", "--timeline", "--step", "1e308"),
        ("classify", "--timeline", "--step", "nan"),
        ("classify", "--channel", "-1"),
        ("classify", "--mod", "x"),
        ("classify", "--model", ""),
        ("listen", "--rate", "1", "--pipe", "-"),
        ("listen", "--file", ""),
        ("listen", "--config", ""),
    ],
)
def test_wrong_values(run, low_voice, arguments):
    clip = [low_voice] if arguments[0] == "classify" else []
    run(*arguments, *clip).check_error(2)


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("MICROPHONE", "SOURCE_MICROPHONE"),
        ("FILE", "SOURCE_FILE"),
        ("PIPE", "SOURCE_PIPE"),
        ("RATE_HZ", "SOURCE_RATE_HZ"),
        ("RATE", "SOURCE_RATE_HZ"),
        ("DEVICE", "DEVICE_NAME"),
        ("HOST", "MQTT_HOST"),
        ("DWELL_S", "DECISION_DWELL_S"),
        ("WAIT", "SOURCE_WAIT"),
    ],
)
def test_variables_without_their_table(run, monkeypatch, name, right):
    monkeypatch.setenv(f"EDGE_SER_{name}", "1")
    run("listen").check_error(2, f"did you mean EDGE_SER_{right}?")


def test_variables_of_the_tests_are_no_settings():
    for name in ("DATA", "NO_SKIP", "FUZZ_CASES"):
        assert config.load(None, {f"EDGE_SER_{name}": "1"}, {}) == config.Config()


def test_a_higher_layer_replaces_the_source(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text("[source]\nmicrophone = 'usb'\nwait = true\n")
    source = config.load(path, {}, {"source.file": "a.wav"}).source
    assert (source.microphone, source.file, source.wait) == (None, "a.wav", True)
    variables = {"EDGE_SER_SOURCE_PIPE": "-"}
    source = config.load(path, variables, {}).source
    assert (source.microphone, source.pipe) == (None, "-")
    source = config.load(path, variables, {"source.microphone": "3"}).source
    assert (source.microphone, source.pipe) == ("3", None)
    with pytest.raises(ConfigError, match="file and pipe"):
        config.load(path, {}, {"source.file": "a", "source.pipe": "-"})


def test_empty_variables_are_not_set(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text("[source]\nmicrophone = 'usb'\n")
    variables = {"EDGE_SER_SOURCE_FILE": "", "EDGE_SER_MODEL": ""}
    loaded = config.load(path, variables, {})
    assert (loaded.model, loaded.source.microphone) == (None, "usb")


def test_toml_nested_too_deeply(run, tmp_path):
    path = tmp_path / "config.toml"
    path.write_text("a = " + "[" * 100_000)
    run("listen", "--config", path).check_error(2, str(path), "not valid TOML")
