import re

import numpy as np
import pytest
import soundfile

pytest.importorskip("sklearn", reason="the training tests need the extra 'train'")

from training import survey
from training.__main__ import main

RATE = 16000


def speech(random, seconds=1.0):
    """Noise that comes and goes, as loud as speech."""
    samples = random.normal(0, 0.05, int(RATE * seconds))
    return samples * np.hanning(len(samples))


def write(path, samples):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, RATE)


@pytest.fixture
def folder(tmp_path):
    random = np.random.default_rng(0)
    for speaker in ("ann", "bob", "eve"):
        for label in ("happy", "sad"):
            for number in range(6):
                file = tmp_path / label / speaker / f"{number}.wav"
                write(file, speech(random))
    return tmp_path


def found_in(folder):
    (found,) = survey.survey(folder, ["folders"])
    return found


def test_a_clean_corpus_has_no_warnings(folder):
    found = found_in(folder)
    assert found.counts == {"happy": 18, "sad": 18}
    assert found.warnings() == []
    page = survey.markdown(found)
    assert "36 clips, 3 speakers" in page
    assert "| ann |  | 6 | 6 |" in page


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("twin", "same audio under several names: happy/ann/0 = sad/bob/9"),
        ("silent", r"1 silent \(below -60 dBFS\): sad/bob/9"),
        ("clipped", "1 clipped: sad/bob/9"),
        ("cut", "1 cut off at the end: sad/bob/9"),
        ("broken", r"1 unreadable: .*sad/bob/9\.wav"),
    ],
)
def test_faulty_clips_are_named(folder, fault, message):
    random = np.random.default_rng(9)
    whole = speech(random)
    file = folder / "sad/bob/9.wav"
    if fault == "broken":
        file.write_bytes(b"RIFF")
    elif fault == "twin":
        samples, _ = soundfile.read(folder / "happy/ann/0.wav", dtype="int16")
        write(file, samples)
    else:
        write(
            file,
            {
                "silent": whole * 1e-3,
                "clipped": np.clip(whole * 40, -1, 1),
                "cut": whole[: len(whole) // 2],
            }[fault],
        )
    (warning,) = found_in(folder).warnings()
    assert re.search(message, warning)


def test_audio_that_two_corpora_share_is_told(folder, capsys):
    table = folder / "list.csv"
    table.write_text(
        "path,label,speaker\nhappy/ann/0.wav,happy,zoe\nsad/eve/3.wav,sad,kim\n"
    )
    asked = ["corpora", str(folder), "--corpora", "folders"]
    assert main(asked) == 0
    assert "recordings are both in" not in capsys.readouterr().out
    assert main([*asked, f"table:{table}"]) == 0
    told = capsys.readouterr().out
    assert re.search(
        r"2 recordings are both in folders and in table:\S+list.csv: ", told
    )
    assert "sad/eve/3 = " in told


def test_uneven_labels_and_few_speakers(folder):
    random = np.random.default_rng(1)
    for number in range(6, 60):
        write(folder / "happy/ann" / f"{number}.wav", speech(random))
    (warning,) = found_in(folder).warnings()
    assert "uneven labels: 72 of happy, 18 of sad" in warning
    for name in ("bob", "eve"):
        for label in ("happy", "sad"):
            for file in (folder / label / name).iterdir():
                file.unlink()
    assert "a single speaker" in found_in(folder).warnings()[-1]
    for label in ("happy", "sad"):
        for file in (folder / label / "ann").iterdir():
            file.rename(folder / label / file.name)
    assert "unknown speakers" in found_in(folder).warnings()[-1]


def test_a_label_with_a_hum_of_its_own_is_given_away(folder):
    hum = 0.002 * np.sin(2 * np.pi * 2000 * np.arange(RATE) / RATE)
    for file in folder.glob("sad/*/*.wav"):
        samples, _ = soundfile.read(file)
        write(file, samples + hum)
    found = found_in(folder)
    assert found.giveaway.value > 0.9
    (warning,) = found.warnings()
    assert "chance is 50 %" in warning


def test_the_command_draws(folder, tmp_path, capsys):
    out = tmp_path / "out"
    asked = ["corpora", str(folder), "--corpora", "folders", "--draw", str(out)]
    assert main([*asked, "--clips", "sad/bob/1"]) == 0
    assert "36 clips" in capsys.readouterr().out
    names = {path.name for path in out.iterdir()}
    assert names == {"counts.png", "own-sad_bob_1.png"}
    # without names, the first of two emotions that can be read
    (folder / "happy/ann/0.wav").write_bytes(b"RIFF")
    assert main(asked) == 0
    drawn = {path.name for path in out.iterdir()} - names
    assert drawn == {"own-happy_ann_1.png", "own-sad_ann_0.png"}
    assert main([*asked, "--clips", "none"]) == 4
    assert main(["corpora", str(folder)]) == 4
    assert "no known corpus" in capsys.readouterr().err
