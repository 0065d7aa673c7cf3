import csv
import dataclasses

import numpy as np
import pytest
import soundfile

pytest.importorskip("tensorflow", reason="needs TensorFlow, so Python 3.11 or 3.12")

from made_up import made_up_config
from training import leak, protocol, report
from training.__main__ import main
from training.errors import ProtocolError


def test_random_folds_spread_labels_and_mix_speakers(made_up):
    labels = [clip.emotion for clip in made_up.clips] * 5
    folds = leak.random_folds(labels, 0)
    counts = np.bincount(folds)
    assert counts.tolist() == [16] * 10
    for fold in range(10):
        happy = sum(
            label == "happy"
            for label, k in zip(labels, folds, strict=True)
            if k == fold
        )
        assert happy == 8
    assert folds != leak.random_folds(labels, 1)


def test_the_best_epoch_is_taken_on_the_test_fold_itself(made_up, tmp_path):
    classes = {"emodb": ("happy", "sad")}
    emodb = protocol.Protocol("emodb4", classes, {1: ("emodb/0",)})
    config = leak.leaky_config(made_up_config(recipe={"epochs": 2}), emodb)
    assert config.corpora == ("emodb",)
    chosen = [index % 2 for index in range(32)]
    rows = leak._leaky_fold(config, made_up, tmp_path / "f", 0, 0, chosen)
    names = {made_up.clips[i].name for i in range(0, 32, 2)}
    assert {row["clip"] for row in rows} == names
    assert {row["variant"] for row in rows} == {leak.RANDOM_FOLDS}
    assert not (tmp_path / "f/checkpoint.npz").exists()
    before = (tmp_path / "f/predictions.csv").stat().st_mtime_ns
    assert leak._leaky_fold(config, made_up, tmp_path / "f", 0, 0, chosen) == rows
    assert (tmp_path / "f/predictions.csv").stat().st_mtime_ns == before
    # not for finished where other clips are asked for
    fewer = made_up.subset(range(16))
    assert leak._kept(tmp_path / "f", fewer) is None


def test_both_figures_stand_side_by_side_with_a_warning(made_up, tmp_path):
    config = made_up_config()
    rows = []
    for index, clip in enumerate(made_up.clips):
        for variant, right in (("honest", index % 2), (leak.RANDOM_FOLDS, 1)):
            said = clip.emotion if right else "happy"
            rows.append(
                {
                    **{"corpus": clip.corpus, "clip": clip.name, "fold": "1"},
                    **{"speaker": clip.speaker, "seed": "0", "variant": variant},
                    **{"label": clip.emotion, "predicted": said},
                    **{"p_happy": "0.5", "p_sad": "0.5"},
                }
            )
    told = leak.publish(config, rows, 0, tmp_path)
    honest = sum(r["label"] == r["predicted"] for r in rows if r["variant"] == "honest")
    gap = 100 * (1 - honest / 32)
    assert f"worth {gap:+.1f} points of accuracy" in told
    assert "WARNING" in told
    assert "| honest |" in told
    _, saved = report.read_predictions(tmp_path / "made-up/predictions.csv")
    assert len(saved) == 64
    with (tmp_path / "ledger.csv").open(newline="") as file:
        (line,) = csv.DictReader(file)
    assert "what a leak is worth" in line["note"]
    assert float(line["ua"]) == pytest.approx(honest / 32, abs=0.1)


SAVEE = """
name = "small"
corpora = ["emodb"]
labels = ["happy", "sad"]
protocol = "emodb4"
architecture = "resnet2d"
decision_hop_s = 0.2
[model]
channels = [4, 4]
[features]
n_mfcc = 0
n_mels = 8
frames_per_window = 32
[recipe]
epochs = 1
batch_size = 8
"""


def test_the_command_trains_both_ways_on_another_corpus(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(leak, "FOLDS", 2)
    random, data = np.random.default_rng(0), tmp_path / "data"
    data.mkdir()
    for speaker in ("DC", "JE", "JK", "KL"):
        for letter in ("a", "d", "f", "h", "n", "sa", "su"):
            for number in (1, 2):
                samples = random.normal(0, 0.1, 8000)
                soundfile.write(
                    data / f"{speaker}_{letter}{number:02}.wav", samples, 16000
                )
    (tmp_path / "small.toml").write_text(SAVEE)
    asked = ["evaluate", "--config", str(tmp_path / "small.toml"), "--seeds", "0"]
    asked += ["--data", str(data), "--out", str(tmp_path / "out")]
    asked += ["--protocol", leak.RANDOM_FOLDS, "--honest", "savee"]
    asked += ["--results", str(tmp_path / "results")]
    assert main(asked) == 0
    told = capsys.readouterr().out
    assert "WARNING" in told
    assert "savee folds, 56 clips" in told
    page = tmp_path / "page.html"
    asked_page = ["report", str(tmp_path / "results/small-leak-savee")]
    assert main([*asked_page, "--html", str(page)]) == 0
    assert "gives no result" in page.read_text()
    assert "honest: confusion, percent" in page.read_text()
    again = capsys.readouterr().out
    assert again.strip().splitlines()[1] in told
    assert "WARNING" in again
    # finished folds are not taken for those of another seed
    asked[asked.index("0")] = "1"
    assert main(asked) == 1
    assert "another config or seed" in capsys.readouterr().err


def test_honest_folds_are_for_the_leak_alone(tmp_path, repository, capsys):
    config = repository / "training/configs/small.toml"
    asked = ["evaluate", "--config", str(config), "--data", str(tmp_path)]
    assert main([*asked, "--out", str(tmp_path / "o"), "--honest", "emodb4"]) == 2
    assert f"--honest is for --protocol {leak.RANDOM_FOLDS}" in capsys.readouterr().err
    leaky = [*asked, "--out", str(tmp_path / "o"), "--protocol", leak.RANDOM_FOLDS]
    for more in (["--seeds", "0", "1"], ["--folds", "1"]):
        assert main([*leaky, *more]) == 2
        assert "takes one seed, and all folds" in capsys.readouterr().err


def test_a_leak_of_several_corpora_makes_no_sense(tmp_path):
    config = made_up_config(protocol=protocol.LEAVE_ONE_CORPUS_OUT)
    with pytest.raises(ProtocolError, match="--honest"):
        leak.compare(config, tmp_path, tmp_path)


@pytest.mark.parametrize("folds", ["emodb4+emovo", "leave-one-corpus-out"])
def test_folds_of_several_corpora_are_refused(tmp_path, folds):
    config = dataclasses.replace(made_up_config(), protocol=folds)
    with pytest.raises(ProtocolError, match="folds of a single corpus"):
        leak.compare(config, tmp_path, tmp_path / "out", results=tmp_path)
