import pathlib

import pytest

from edge_ser.errors import ConfigError
from training import config

MINIMAL = """
name = "trial"
corpora = ["emodb"]
labels = ["happy", "sad"]
protocol = "emodb4"
architecture = "resnet2d"
"""


def load(tmp_path: pathlib.Path, text: str):
    file = tmp_path / "trial.toml"
    file.write_text(text)
    return config.load(file)


def test_defaults_fill_what_is_not_said(tmp_path):
    loaded = load(tmp_path, MINIMAL + "[features]\nn_mfcc = 0\n")
    assert loaded.features.n_mfcc is None
    assert loaded.hop_frames == 50
    assert config.parse(loaded.to_dict()) == loaded


def test_every_shipped_config_is_valid(repository):
    files = sorted((repository / "training/configs").glob("*.toml"))
    assert [config.load(file).name for file in files] == [file.stem for file in files]


def test_the_digest_follows_every_change(tmp_path):
    one = load(tmp_path, MINIMAL)
    other = load(tmp_path, MINIMAL + "[recipe]\nepochs = 99\n")
    assert one.digest != other.digest
    assert one.digest == load(tmp_path, MINIMAL).digest


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nothing", "trial.toml"),
        (MINIMAL + "[recipe]\nepoch = 3\n", "unknown key 'epoch'"),
        (MINIMAL + "[features]\nn_mel = 3\n", "unknown field 'n_mel'"),
        (MINIMAL + "[features]\nhop_ms = -1\n", "hop_ms"),
        (MINIMAL + "[recipe]\nepochs = 0\n", "epochs is 0"),
        (MINIMAL + '[recipe]\nepochs = "x"\n', "epochs is 'x'; valid: int"),
        (MINIMAL + "[recipe]\nbatch_size = 2.5\n", r"batch_size is 2\.5"),
        (MINIMAL + "[recipe]\nlearning_rate = nan\n", "finite"),
        (MINIMAL + "[recipe]\nprune_sparsity = 2\n", "prune_sparsity is 2"),
        (MINIMAL + '[recipe]\ncompute = "int8"\n', "compute is 'int8'"),
        (MINIMAL + "[augmentation]\nnoise_snr_db = [1.0]\n", "noise_snr_db"),
        (MINIMAL + "[augmentation]\ngain_db = -3.0\n", "gain_db"),
        (MINIMAL + '[features]\npadding = "center"\n', "streams"),
        (MINIMAL + "decision_hop_s = 0\n", "decision_hop_s"),
        (MINIMAL.replace('labels = ["happy", "sad"]', "labels = 5"), "labels is 5"),
        (MINIMAL.replace('"sad"', '"happy"'), "each once"),
        (
            MINIMAL.replace('"sad"', '"idle"') + '[label_map]\nleer = "idle"\n',
            "a label is 'idle'",
        ),
        (MINIMAL.replace('["emodb"]', "[]"), "corpora"),
        (MINIMAL.replace('"trial"', '"../trial"'), "name is"),
        (MINIMAL + "recipe = 3\n", "valid: a table"),
        (MINIMAL + 'features = "x"\n', "valid: a table"),
        (MINIMAL.replace('name = "trial"', ""), "missing key 'name'"),
        (MINIMAL.replace('"sad"', '"gloomy"'), "unknown label 'gloomy'"),
    ],
)
def test_mistakes_are_named(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, text)


def test_not_even_text(tmp_path):
    file = tmp_path / "trial.toml"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"trial\.toml"):
        config.load(file)


def test_missing_file(tmp_path):
    with pytest.raises(ConfigError, match="No such file"):
        config.load(tmp_path / "none.toml")
