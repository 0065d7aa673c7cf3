import dataclasses
import json
import os
import pathlib

import numpy as np
import pytest

from edge_ser import bundle
from edge_ser.audio.file import read_blocks
from voice import RATE_HZ, voice


def test_json_one_object_a_file_in_order(run, model, tmp_path, write_wav):
    paths = []
    for name, pitch_hz in (("a", 320), ("b", 100), ("c", 180)):
        paths.append(tmp_path / f"{name}.wav")
        write_wav(paths[-1], voice(pitch_hz, 1.5))
    answer = run("classify", "--json", "--model", model, *paths)
    assert answer.code == 0
    objects = [json.loads(line) for line in answer.out.splitlines()]
    assert [each["path"] for each in objects] == [str(path) for path in paths]
    assert [each["label"] for each in objects] == ["high", "low", "middle"]
    for each in objects:
        assert list(each) == [
            "path",
            "label",
            "confidence",
            "probabilities",
            "duration_s",
        ]
        assert each["duration_s"] == 1.5
        assert each["confidence"] == max(each["probabilities"].values())
        assert sum(each["probabilities"].values()) == pytest.approx(1, abs=1e-3)


def test_table_is_aligned(run, model, low_voice, tmp_path, write_wav):
    short = tmp_path / "s.wav"
    write_wav(short, voice(320, 1))
    answer = run("classify", "--model", model, low_voice, short)
    first, second = answer.out.splitlines()
    assert first.index(" low ") == second.index(" high ")
    assert len(first) == len(second)


def test_other_files_are_answered(run, model, low_voice):
    answer = run("classify", "--json", "--model", model, "/no/such.wav", low_voice)
    answer.check_error(4, "/no/such.wav", "No such file")
    assert json.loads(answer.out)["label"] == "low"


@pytest.mark.parametrize("rate_hz", [8000, 22050, 44100, 48000])
def test_other_rates(run, model, tmp_path, write_wav, rate_hz):
    from edge_ser.resample import resample

    path = tmp_path / "clip.wav"
    write_wav(path, resample(voice(100, 2), RATE_HZ, rate_hz), rate_hz)
    answer = run("classify", "--json", "--model", model, path)
    result = json.loads(answer.out)
    assert (result["label"], result["duration_s"]) == ("low", 2.0)


def test_long_path_is_shortened(run, model, low_voice, monkeypatch):
    monkeypatch.setenv("COLUMNS", "70")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    path = low_voice.parent / ("x" * 80 + ".wav")
    low_voice.rename(path)
    answer = run("classify", "--model", model, path)
    assert len(answer.out.rstrip("\n")) <= 70
    assert answer.out.startswith("...")


def test_closed_output_is_no_traceback(model, low_voice, run_process):
    import subprocess
    import sys

    command = [sys.executable, "-m", "edge_ser", "classify", "--model", model]
    process = subprocess.Popen(
        [*command, *[str(low_voice)] * 20],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdout.close()
    errors = process.stderr.read()
    process.stderr.close()
    assert process.wait(30) == 1
    assert b"Traceback" not in errors


def test_unicode_bar_falls_back_to_ascii(model, low_voice, run_process):
    done = run_process(
        "classify", "--model", model, low_voice, env={"PYTHONIOENCODING": "ascii"}
    )
    assert done.returncode == 0
    assert b"####" in done.stdout


def test_default_model_is_named_when_missing(run, low_voice, monkeypatch):
    from edge_ser import bundle

    monkeypatch.setattr(bundle, "_DEFAULT", "/no/model")
    run("classify", low_voice).check_error(3, "/no/model")


def test_int16_full_scale_does_not_overflow(run, model, tmp_path, write_wav):
    path = tmp_path / "loud.wav"
    write_wav(path, np.clip(voice(100, 1) * 50, -1, 1))
    assert run("classify", "--model", model, path).code == 0


@pytest.fixture
def telephone_calls(corpora_folder, tmp_path, write_wav):
    """Clips of fold 1's strangers as a telephone has them: from 300 to 3400 Hz."""
    clips = [
        path
        for path in sorted((corpora_folder / "ravdess").rglob("*.flac"))
        if path.stem[-2:] in ("01", "11", "20", "21")
    ][::3]
    assert len(clips) > 70
    paths = []
    for clip in clips:
        samples = np.concatenate([*read_blocks(clip, RATE_HZ)])
        spectrum = np.fft.rfft(samples)
        hertz = np.fft.rfftfreq(len(samples), 1 / RATE_HZ)
        spectrum[(hertz < 300) | (hertz > 3400)] = 0
        paths.append(tmp_path / f"{clip.stem}.wav")
        write_wav(paths[-1], np.fft.irfft(spectrum, len(samples)))
    return paths


def test_calls_of_one_telephone_are_understood_better_together(
    run, repository, telephone_calls
):
    strangers = repository / "training/results/standard/fold-1.tflite"
    acted = ["neutral", "calm", "happy", "sad", "angry", "fear", "disgust", "surprise"]

    def answers(*options, paths=telephone_calls):
        answer = run("classify", "--json", "--model", strangers, *options, *paths)
        assert answer.code == 0
        return {row["path"]: row for row in map(json.loads, answer.out.splitlines())}

    def right(rows):
        return sum(
            row["label"] == acted[int(pathlib.Path(path).stem.split("-")[2]) - 1]
            for path, row in rows.items()
        )

    alone, together = answers(), answers("--same-place")
    assert right(together) > right(alone) + 4
    # All are heard before any is answered, so that their order does not matter much.
    turned = answers("--same-place", paths=telephone_calls[::-1])
    for path, row in together.items():
        assert turned[path]["probabilities"] == pytest.approx(
            row["probabilities"], abs=0.02
        )


@pytest.fixture
def dull_speakers(model, tmp_path):
    """The model, with a card that tells of speakers who sound dull."""
    read = bundle.read(model)
    bands = read.card.features.n_static
    speakers = {"mean": np.linspace(9, -9, bands).tolist(), "spread": [0.1] * bands}
    path = tmp_path / "dull.tflite"
    # Less sure of itself, or every answer would be 1.0 and 0.0.
    card = dataclasses.replace(read.card, speakers=speakers, temperature=20.0)
    bundle.write(path, card, read.model)
    return path


@pytest.mark.parametrize("options", [["--json"], ["--timeline", "--json"]])
def test_a_place_is_learned_before_the_first_answer(
    run, dull_speakers, recording, options
):
    command = ["classify", *options, "--model", dull_speakers]
    alone = run(*command, recording)
    place = run(*command, "--same-place", recording)
    assert (alone.code, place.code) == (0, 0)
    first, first_alone = place.out.splitlines()[0], alone.out.splitlines()[0]
    assert first != first_alone
    # What was heard twice is no better known, and a bad file hinders nobody.
    bad = run(*command, "--same-place", "/no/such.wav", recording)
    bad.check_error(4, "/no/such.wav")
    assert bad.err.count("No such file") == 1
    assert bad.out.splitlines()[0] == first
    folder = run(*command, "--same-place", dull_speakers.parent, recording)
    folder.check_error(4, str(dull_speakers.parent))
    assert folder.out.splitlines()[0] == first


def test_what_cannot_be_read_teaches_nothing(
    run, dull_speakers, recording, low_voice, tmp_path
):
    command = ("classify", "--json", "--same-place", "--model", dull_speakers)
    alone = run(*command, low_voice)
    assert alone.out != run(*command, low_voice, recording).out.splitlines()[0] + "\n"
    cut, pipe = tmp_path / "cut.wav", tmp_path / "pipe"
    cut.write_bytes(recording.read_bytes()[:-1000])
    os.mkfifo(pipe)
    for bad in (cut, pipe, tmp_path / ("long" * 100)):
        answer = run(*command, bad, low_voice)
        answer.check_error(4, str(bad))
        assert answer.out == alone.out


def test_a_place_needs_a_card_with_speakers(run, model, low_voice):
    answer = run("classify", "--same-place", "--model", model, low_voice)
    answer.check_error(2, "tells nothing of its speakers")
