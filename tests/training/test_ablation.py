import shutil

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="needs TensorFlow, so Python 3.11 or 3.12")

from conftest import TINY_CONFIG
from edge_ser.errors import ConfigError
from training import ablation, ablation_results, config, runs
from training.__main__ import main
from training.errors import CorpusError, ProtocolError, RunError


def test_every_variant_of_the_table_is_a_valid_config(repository):
    variants = ablation.load_variants(repository / "training/ablation.toml")
    assert len(variants) > 20
    of = {}
    for name in ("small", "standard"):
        base = config.load(repository / f"training/configs/{name}.toml")
        # MFCC are never heard half a band lower or higher.
        base = config.with_values(base, {"model.views": 1})
        changed = [config.with_values(base, values) for values in variants.values()]
        of[name] = {one.digest for one in [base, *changed]}
    # The table is of the small one, where each changes something else; standard has
    # some of them already.
    assert len(of["small"]) == len(variants) + 1


def test_the_table_grows_and_goes_on(corpora_folder, tmp_path, capsys):
    data = corpora_folder / "emodb"
    base = config.parse({**TINY_CONFIG, "recipe": {"epochs": 1, "batch_size": 16}})
    arguments = {
        **{"seeds": [0], "base_seeds": [0, 1], "fold": None, "jobs": 2},
        "validation_speakers": ["emodb/03", "emodb/08"],
    }
    variants = {
        "focal loss": {"recipe.focal_gamma": 2.0},
        "taught": {"distillation.teachers": ["{out}/the-config-itself-seed-1"]},
    }
    out = tmp_path / "out"
    ablation.ablate(base, {}, data, out, **arguments)
    trained = sorted(out.glob("*/model.keras"))
    assert len(trained) == 2
    before = [file.stat().st_mtime_ns for file in trained]
    ablation.ablate(base, variants, data, out, **arguments)
    assert [file.stat().st_mtime_ns for file in trained] == before
    lines = (out / "ablation.md").read_text().splitlines()
    assert lines[-3].startswith("| the config itself |  | 2 | ")
    assert lines[-2].startswith("| focal loss | `recipe.focal_gamma = 2.0` | 1 | ")
    assert lines[-1].startswith("| taught |")
    teachers = runs.load(out / "taught-seed-0").config.distillation.teachers
    assert teachers == (str(out / "the-config-itself-seed-1"),)
    # what `report` prints comes from the csv file alone
    shutil.copy(out / "ablation.csv", tmp_path)
    capsys.readouterr()
    assert main(["report", str(tmp_path)]) == 0
    assert capsys.readouterr().out.strip() == (out / "ablation.md").read_text().strip()
    page = tmp_path / "page.html"
    assert main(["report", str(tmp_path), "--html", str(page)]) == 0
    assert "<td>focal loss</td>" in page.read_text()
    with pytest.raises(ConfigError, match="variant 'x': unknown key"):
        wrong = {"x": {"recipe.focal": 1.0}}
        ablation.ablate(base, wrong, data, tmp_path / "out", **arguments)
    with pytest.raises(ProtocolError, match="a seed is given twice"):
        ablation.ablate(base, {}, data, out, **{**arguments, "base_seeds": [0, 0]})
    noise = {
        "augmentation.noise_folder": "nowhere",
        "augmentation.noise_snr_db": [3.0, 35.0],
    }
    for wrong, told in (
        ({"Focal  loss": {"recipe.focal_gamma": 1.0}}, "have one folder"),
        ({"t": {"distillation.teachers": ["{out}/x-seed-0"]}}, "train it first"),
        ({"noisy": noise}, "nowhere"),
    ):
        with pytest.raises((ConfigError, CorpusError), match=told):
            ablation.ablate(base, variants | wrong, data, out, **arguments)
    assert (out / "ablation.md").read_text().splitlines() == lines
    with pytest.raises(ProtocolError, match="validation-speakers"):
        nobody = {**arguments, "validation_speakers": []}
        ablation.ablate(base, {}, data, tmp_path / "out", **nobody)


def test_a_table_that_cannot_be_written_ends_it(corpora_folder, tmp_path):
    (tmp_path / f".{ablation_results.FILE}.partial").symlink_to("/dev/full")
    base = config.parse({**TINY_CONFIG, "recipe": {"epochs": 1, "batch_size": 16}})
    with pytest.raises(OSError, match="No space left"):
        ablation.ablate(
            base,
            {},
            corpora_folder / "emodb",
            tmp_path,
            seeds=[0],
            base_seeds=range(6),
            fold=None,
            validation_speakers=["emodb/03"],
        )
    assert 1 <= len(list(tmp_path.glob("*/run.json"))) < 6


@pytest.mark.parametrize("text", ["", "[variants]\nx = 3", "[variants]\nx = {}", "x ="])
def test_files_that_are_no_table_of_variants(tmp_path, text):
    (tmp_path / "a.toml").write_text(text)
    with pytest.raises(ConfigError, match=r"a\.toml"):
        ablation.load_variants(tmp_path / "a.toml")


def trial(change, seed, ua, settings=""):
    return {
        **{"change": change, "settings": settings, "seed": str(seed), "epochs": "9"},
        **{"validation_ua": f"{ua:.5f}", "validation_clips": "60", "fold": "1"},
        **{"validation_speakers": "ravdess/04", "protocol": "ravdess"},
    }


def test_a_change_must_be_larger_than_what_seeds_do():
    base = [trial(ablation_results.BASE, n, ua) for n, ua in enumerate((0.40, 0.44))]
    others = [trial("small", 0, 0.45, "a = 1"), trial("large", 0, 0.90, "a = 2")]
    told = ablation_results.markdown([*base, *others])
    # t (1 degree of freedom) 12.706 * s 2.828 * sqrt(1 + 1/2)
    assert "±44.0 of their mean" in told
    assert "| the config itself |  | 2 | 42.0 ± 2.8 |  |  |" in told
    assert "| small | `a = 1` | 1 | 45.0 | +3.0 | no |" in told
    assert "| large | `a = 2` | 1 | 90.0 | +48.0 | **yes** |" in told
    alone = ablation_results.markdown([base[0], others[1]])
    assert "| large | `a = 2` | 1 | 90.0 | +50.0 |  |" in alone


def test_the_range_of_chance_holds_what_it_says():
    random = np.random.default_rng(0)
    inside = 0
    for _ in range(2000):
        *base, more = random.normal(50, 2, 6)
        inside += abs(more - np.mean(base)) <= ablation_results.chance_range(base, 1)
    assert 0.935 < inside / 2000 < 0.965


def test_damaged_tables_are_refused(tmp_path):
    trials = [trial(ablation_results.BASE, 0, 0.4), trial("x", 0, 0.5)]
    with pytest.raises(RunError, match="no table of trials"):
        ablation_results.read(tmp_path)
    for wrong in (trials[1:], [{**trials[0], "validation_ua": "x"}], []):
        ablation_results.write(tmp_path, wrong)
        with pytest.raises(RunError, match=r"ablation\.csv"):
            ablation_results.read(tmp_path)
    ablation_results.write(tmp_path, trials)
    assert ablation_results.read(tmp_path) == trials
    file = tmp_path / ablation_results.FILE
    file.write_text(file.read_text().rsplit(",", 2)[0])
    with pytest.raises(RunError, match="line 3"):
        ablation_results.read(tmp_path)
