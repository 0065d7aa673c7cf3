import json

import pytest

pytest.importorskip("tensorflow", reason="needs TensorFlow, so Python 3.11 or 3.12")
pytest.importorskip("optuna", reason="the training tests need the extra 'train'")

from edge_ser.errors import ConfigError
from made_up import made_up_config
from training import stages, tune
from training.__main__ import main
from training.config import with_values
from training.errors import ProtocolError, RunError

VALIDATION = ["emodb/0", "ravdess/3"]


def space(tmp_path, text):
    file = tmp_path / "space.toml"
    file.write_text(f"[search]\n{text}\n")
    return tune.load_space(file)


def test_an_interrupted_study_goes_on(made_up, tmp_path, monkeypatch):
    config = made_up_config(recipe={"epochs": 1})
    grid = space(tmp_path, '"recipe.learning_rate" = [1e-3, 1e-2]')
    train_run, trained = stages.train_run, []

    def counted(chosen, *arguments, **named):
        trained.append(chosen.recipe.learning_rate)
        if len(trained) == 2:
            raise KeyboardInterrupt
        return train_run(chosen, *arguments, **named)

    monkeypatch.setattr(stages, "train_run", counted)

    def search():
        return tune.tune(
            config,
            grid,
            lambda _: made_up,
            tmp_path,
            tmp_path / "study",
            method="grid",
            trials=9,
            validation_speakers=VALIDATION,
        )

    with pytest.raises(KeyboardInterrupt):
        search()
    told = search()
    assert sorted(trained) == sorted([*{1e-3, 1e-2}, trained[1]])
    assert trained[2] == trained[1]  # what was interrupted, not what was finished
    assert told.count("\n") == 3  # head, line and both cells of the grid
    best = json.loads((tmp_path / "study/best.json").read_text())
    assert best["recipe"]["learning_rate"] in (1e-3, 1e-2)
    assert search() == told
    assert len(trained) == 3


def test_a_study_that_goes_on_draws_anew(made_up, tmp_path):
    config = made_up_config(recipe={"epochs": 1})
    ranged = space(tmp_path, '"recipe.learning_rate" = { low = 1e-3, high = 1e-2 }')

    def search(trials, validation=VALIDATION):
        told = tune.tune(
            config,
            ranged,
            lambda _: made_up,
            tmp_path,
            tmp_path / "study",
            method="random",
            trials=trials,
            validation_speakers=validation,
        )
        return {line.split("|")[2] for line in told.splitlines()[2:]}

    one = search(1)
    assert one < search(2)
    assert len(search(2)) == 2
    # other validation speakers judge anew, even the same settings
    assert search(1, VALIDATION[:1]) == one
    assert len(list((tmp_path / "study").glob("trial-*/run.json"))) == 3


def test_each_trial_learns_from_features_of_its_own(made_up, tmp_path):
    bands = space(tmp_path, '"features.f_min_hz" = [20.0, 60.0]')
    asked = []

    def load(config):
        asked.append(config.features.f_min_hz)
        return made_up

    arguments = (made_up_config(recipe={"epochs": 1}), bands, load, tmp_path, tmp_path)
    tune.tune(*arguments, method="grid", trials=2, validation_speakers=VALIDATION)
    assert sorted(asked[1:]) == [20.0, 60.0]  # the first were the config's own


def test_a_study_that_is_none(made_up, tmp_path):
    (tmp_path / "study.db").write_bytes(b"no database" * 99)
    choices = space(tmp_path, '"recipe.epochs" = [1]')
    arguments = (made_up_config(), choices, lambda _: made_up, tmp_path, tmp_path)
    with pytest.raises(RunError, match=r"study\.db cannot be used: file is not a"):
        tune.tune(*arguments, method="grid", trials=1, validation_speakers=VALIDATION)


def test_test_speakers_take_no_part(made_up, tmp_path):
    config = made_up_config()
    grid = space(tmp_path, '"recipe.epochs" = [1]')
    arguments = (config, grid, lambda _: made_up, tmp_path, tmp_path / "study")
    with pytest.raises(ProtocolError, match="validation speakers"):
        tune.tune(*arguments, method="grid", trials=1, validation_speakers=[])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('"recipe.epochs" = { low = 3 }', "valid: a list"),
        ('"recipe.epochs" = { low = 3, high = 1 }', "valid: a list"),
        ('"recipe.learning_rate" = { low = 0, high = 1, log = true }', "valid: a list"),
        ('"recipe.epochs" = []', "valid: a list"),
        ("", "needs a table"),
        ("x = ", r"space\.toml"),
    ],
)
def test_search_spaces_that_make_no_sense(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        space(tmp_path, text)


def test_settings_that_do_not_exist(tmp_path):
    config = made_up_config()
    with pytest.raises(ConfigError, match="unknown key 'epoch'"):
        with_values(config, {"recipe.epoch": 3})
    with pytest.raises(ConfigError, match=r"no setting 'recip\.epochs'"):
        with_values(config, {"recip.epochs": 3})
    assert with_values(config, {"recipe.epochs": 7}).recipe.epochs == 7
    assert with_values(config, {"model.dropout": 0.5}).model["dropout"] == 0.5


def test_a_grid_needs_lists(made_up, tmp_path):
    ranged = space(tmp_path, '"recipe.learning_rate" = { low = 1e-3, high = 1e-2 }')
    with pytest.raises(ConfigError, match="is a range"):
        tune.tune(
            made_up_config(),
            ranged,
            lambda _: made_up,
            tmp_path,
            tmp_path / "study",
            method="grid",
            trials=1,
            validation_speakers=VALIDATION,
        )


def test_the_command_says_what_is_missing(tmp_path, capsys, repository):
    config = repository / "training/configs/standard.toml"
    asked = ["tune", "--config", str(config), "--data", str(tmp_path)]
    asked += ["--out", str(tmp_path / "o"), "--validation-speakers", "ravdess/01"]
    assert main([*asked, "--space", str(tmp_path / "none.toml")]) == 2
    assert "No such file" in capsys.readouterr().err
    choices = tmp_path / "space.toml"
    choices.write_text('[search]\n"augmentation.mixup" = [0.2, -1.0]\n')
    assert main([*asked, "--space", str(choices)]) == 2
    assert "-1.0" in capsys.readouterr().err
