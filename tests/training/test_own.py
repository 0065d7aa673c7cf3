import dataclasses

import numpy as np
import pytest
import soundfile

pytest.importorskip("tensorflow", reason="needs TensorFlow, so Python 3.11 or 3.12")

from edge_ser.classifier import Classifier
from edge_ser.errors import ConfigError
from training import config as configs
from training import own
from training.__main__ import main
from training.errors import CorpusError
from training.train import find_start

TOML = """
name = "small"
corpora = ["emodb"]
labels = ["happy", "sad"]
protocol = "emodb4"
architecture = "resnet2d"
decision_hop_s = 0.5
[model]
channels = [8, 16]
[features]
n_mfcc = 0
n_mels = 16
frames_per_window = 64
normalisation = "window_level"
[recipe]
epochs = 2
batch_size = 8
prune_epochs = 1
"""


@pytest.fixture
def small(tmp_path):
    file = tmp_path / "small.toml"
    file.write_text(TOML)
    return file


def record(folder, labels=("happy", "sad"), speakers=("ann", "bob", "eve"), count=5):
    """Voices that rise when happy and fall when sad."""
    random = np.random.default_rng(0)
    seconds = np.arange(16000) / 16000
    for label in labels:
        for speaker in speakers:
            for number in range(count):
                slope = 150 if label == "happy" else -150
                pitch = random.uniform(300, 400) + slope * seconds
                samples = 0.3 * np.sign(np.sin(2 * np.pi * np.cumsum(pitch) / 16000))
                file = folder / label / speaker / f"{number}.wav"
                file.parent.mkdir(parents=True, exist_ok=True)
                noise = random.normal(0, 0.01, 16000)
                soundfile.write(file, samples + noise, 16000)
    return folder


def test_from_a_folder_to_a_bundle(tmp_path, small, capsys):
    folder, out = record(tmp_path / "mine"), tmp_path / "out"
    asked = ["own", str(folder), "--out", str(out), "--config", str(small)]
    assert main(asked) == 0
    told = capsys.readouterr().out
    assert "1 speaker(s) kept out of training: own/" in told
    assert "WARNING" not in told
    assert "chance is 50.0 %" in told
    classifier = Classifier.load(out / "model.tflite")
    assert classifier.labels == ("happy", "sad")
    card = classifier.card
    assert [entry["corpus"] for entry in card.training_data] == ["own"]
    assert card.training_data[0]["speakers"] == 2
    samples, rate = soundfile.read(folder / "sad/eve/0.wav", dtype="float32")
    assert classifier.classify(samples, rate).label in ("happy", "sad")
    # the folder can be reported, its learning curve too
    page = tmp_path / "page.html"
    assert main(["report", str(out), "--html", str(page)]) == 0
    assert "speakers-kept-out" in capsys.readouterr().out
    assert "learning curve" in page.read_text()
    # again: what is finished is not trained again
    before = (out / "run/model.keras").stat().st_mtime_ns
    assert main(asked) == 0
    assert (out / "run/model.keras").stat().st_mtime_ns == before
    # but not for finished once the recordings are others: who is kept out may change
    config, clips = own.configuration(folder, ["folders"], {}, base=small)
    learned = [clip for clip in clips if clip.speaker_key not in told]
    assert len(learned) == 20
    assert own._finished(out / "run", config, 0, learned)
    # what it left can be gone on from
    started, _ = own.configuration(folder, ["folders"], {}, start_from=out, base=small)
    (run,) = find_start(started)
    assert run.trained_on(learned[0])
    assert own._finished(out / "run", config, 0, clips) is None


def test_the_standard_recipe_needs_nothing_but_the_recordings(tmp_path):
    config, _ = own.configuration(record(tmp_path / "mine"), ["folders"], {})
    standard = configs.load(own.CONFIG)
    assert standard.augmentation.noise_folder  # which nobody's recordings hold
    assert config.augmentation.noise_folder == config.copies.rooms == ""
    assert config.augmentation.reverberation == standard.augmentation.reverberation
    assert (config.recipe.compute, config.recipe.clips_per_speaker) == ("float32", 0)


def test_unknown_speakers_are_a_loud_warning(tmp_path, small):
    for file in list(record(tmp_path / "mine").rglob("*.wav")):
        label, speaker, name = file.relative_to(tmp_path / "mine").parts
        file.rename(tmp_path / "mine" / label / f"{speaker}-{name}")
    config, clips = own.configuration(tmp_path / "mine", ["folders"], {}, base=small)
    assert not any(clip.speaker_known for clip in clips)
    assert config.protocol == own.CLIPS_APART
    rows = [
        {
            **{"corpus": "own", "clip": clip.name, "speaker": clip.speaker, "fold": 0},
            **{"seed": 0, "variant": "int8", "label": clip.emotion},
            **{"predicted": clip.emotion, "p_happy": "0.5", "p_sad": "0.5"},
        }
        for clip in clips
    ]
    own.report.write_predictions(tmp_path / "predictions.csv", rows, config.labels)
    told = own._told(tmp_path, rows, config, ["x"], clips)
    assert "WARNING: the speakers are not known" in told
    assert "of speakers that may have trained" in told
    saved = own.report.read_predictions(tmp_path / "predictions.csv")[1]
    assert "speakers are not known" in own.report.caveats(saved)[0]
    # an emotion that nobody kept out has spoken is named
    happy = [row for row in rows if row["label"] == "happy"]
    own.report.write_predictions(tmp_path / "predictions.csv", happy, config.labels)
    assert "sad not measured" in own._told(tmp_path, happy, config, ["x"], clips)


def test_whole_speakers_are_held_out_and_every_label_stays(tmp_path):
    clips = own.find_clips(record(tmp_path), ["folders"])
    held = own.held_out_speakers(clips)
    assert len(held) == 1
    of_one = [c for c in clips if c.emotion == "happy" or c.speaker == "ann"]
    assert "own/ann" not in own.held_out_speakers(of_one)
    each_its_own = [c for c in clips if (c.emotion == "happy") == (c.speaker == "ann")]
    each_its_own = [c for c in each_its_own if c.speaker != "eve"]
    with pytest.raises(CorpusError, match="only one of some label"):
        own.held_out_speakers(each_its_own)


def test_who_speaks_most_of_the_clips_is_not_held_out(tmp_path):
    clips = own.find_clips(record(tmp_path), ["folders"])
    for seed in range(6):
        many = [dataclasses.replace(c, speaker="joe") for c in clips * 2]
        assert "own/joe" not in own.held_out_speakers([*clips, *many], seed)
        # unless nobody else can be
        of_joe = [c for c in many if c.emotion == "happy"]
        rest = [c for c in clips if c.emotion == "sad" and c.speaker == "ann"]
        rest += [dataclasses.replace(c, speaker="joe") for c in rest]
        rest += [dataclasses.replace(c, emotion="happy") for c in rest]
        held = own.held_out_speakers([*of_joe, *rest], seed)
        assert len(held) == 1


@pytest.mark.parametrize(
    ("recorded", "message"),
    [
        ({"labels": ["happy"]}, "all clips are happy"),
        ({"count": 3}, r"too few clips of happy \(9\), sad \(9\)"),
        ({"speakers": ["ann"], "count": 12}, "a single speaker"),
        ({"labels": ["happy", "gloomy"]}, "no word for the label 'gloomy'"),
    ],
)
def test_recordings_that_cannot_teach(tmp_path, small, recorded, message):
    folder = record(tmp_path / "mine", **recorded)
    with pytest.raises(CorpusError, match=message):
        own.configuration(folder, ["folders"], {}, base=small)


def test_early_stopping_would_choose_by_the_measuring_speakers(tmp_path, small):
    small.write_text(TOML + "early_stopping_epochs = 3\n")
    with pytest.raises(ConfigError, match="valid here: 0"):
        own.configuration(record(tmp_path / "mine"), ["folders"], {}, base=small)


@pytest.mark.parametrize(
    ("option", "value", "valid"),
    [
        ("--epochs", "0", "1 to"),
        ("--seed", "-1", "0 to"),
        ("--seed", "one", "0 to"),
        ("--label", "gloomy", "OWN=WORD"),
    ],
)
def test_options_that_make_no_sense(tmp_path, capsys, option, value, valid):
    with pytest.raises(SystemExit) as ended:
        main(["own", str(tmp_path), "--out", str(tmp_path), f"{option}={value}"])
    assert ended.value.code == 2
    assert f"{option}: '{value}'; valid: {valid}" in capsys.readouterr().err


def test_words_of_ones_own(tmp_path, small):
    folder = record(tmp_path / "mine", labels=("happy", "gloomy", "yelling"))
    words = {"gloomy": "sad", "yelling": "yelling"}
    config, _ = own.configuration(folder, ["folders"], words, base=small)
    assert config.labels == ("happy", "sad", "yelling")
