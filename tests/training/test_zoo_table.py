"""The zoo's table says what the saved predictions say, and its recipes are equal."""

import dataclasses
import json
import pathlib
import shutil

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="needs TensorFlow, so Python 3.11 or 3.12")

from edge_ser.errors import EdgeSerError
from made_up import made_up_clip
from training import config, report, runs, zoo, zoo_results, zoo_run
from training.__main__ import main
from training.batches import Batches
from training.dataset import FeatureSet, frame_spec, stored_statistics
from training.errors import RunError

LABELS = ("angry", "sad")


def publish(results, name, hits, row):
    """A row whose Keras model is right on `hits` of 20 clips, its int8 on one less."""
    rows = [
        {
            "corpus": "emodb",
            "clip": f"c{number}",
            "speaker": f"{number % 4}",
            "fold": number % 4 + 1,
            "seed": 0,
            "variant": variant,
            "label": LABELS[number % 2],
            "predicted": LABELS[(number + (number >= right)) % 2],
            "p_angry": 0.5,
            "p_sad": 0.5,
        }
        for variant, right in (("keras", hits), ("int8", hits - 1))
        for number in range(20)
    ]
    told = {"name": name, "converts": "full int8", "recipe": "paper", **row}
    values = {"protocol": "emodb4"}
    return zoo_results.publish(
        name, "emodb4", values, "abc", LABELS, rows, told, results=results
    )


@pytest.fixture
def published(tmp_path):
    results = tmp_path / "zoo"
    publish(results, "weak", 11, {"macs": 5_000_000, "int8_bytes": 50_000})
    strong = {
        "macs": 160_000_000,
        "int8_bytes": 490_000,
        "parameters": 463_752,
        "epochs": 300,
        "training_cpu_s": 600,
    }
    publish(results, "strong", 19, strong)
    reached = {"paper": {"validation_ua": 0.5}, "ours": {"validation_ua": 0.25}}
    curve = tmp_path / "curve.png"
    curve.write_bytes(b"")
    told = {"still_rising": True, "trials": reached}
    zoo_results.publish_trial("strong", {}, told, curve, results)
    return results


def test_the_table_holds_what_the_predictions_say(published, tmp_path, capsys):
    arguments = ["zoo", "--results", str(published), "--plots", str(tmp_path / "plots")]
    assert main(arguments) == 0
    page = capsys.readouterr().out
    assert page.strip() == (tmp_path / "zoo.md").read_text().strip()
    strong, weak = (
        next(line for line in page.splitlines() if line.startswith(f"| {name} "))
        for name in ("strong", "weak")
    )
    assert page.index(strong) < page.index(weak)
    assert "| 95.0 [" in strong
    assert "| 90.0 [" in strong
    for text in ("463,752", "160.0 M", "490", "validation still rose", "50.0, 25.0"):
        assert text in strong
    assert "](zoo/trials/strong/learning-curve.png)" in strong
    assert "](zoo/trials" not in weak
    assert "10.0 min" in strong
    assert (tmp_path / "plots" / "zoo-emodb4.png").stat().st_size > 5000
    ledger = (published / "ledger.csv").read_text().splitlines()
    assert len(ledger) == 3
    assert ",int8,0.9000," in ledger[2]


def test_a_damaged_row_is_named(published):
    (published / "weak-emodb4" / "row.json").write_text("{")
    with pytest.raises(RunError, match="weak-emodb4: not a published row"):
        zoo_results.load(published)
    (published / "weak-emodb4" / "row.json").write_text('{"seeds": [0]}')
    trial = zoo_results.trial_folder("strong", published) / "trial.json"
    sound = trial.read_text()
    trial.write_text("{}")
    with pytest.raises(RunError, match=r"strong: not a published trial"):
        zoo_results.load(published)
    trial.write_text(sound)
    (published / "weak-emodb4" / "predictions.csv").write_text("")
    with pytest.raises(RunError, match=r"weak-emodb4.*not a prediction file"):
        zoo_results.load(published)


def test_no_row_is_a_one_line_error(tmp_path, capsys):
    assert main(["zoo", "--results", str(tmp_path)]) == 1
    assert "no row yet" in capsys.readouterr().err


def test_rows_without_data_are_not_silently_ignored(published, capsys):
    assert main(["zoo", "small", "--results", str(published)]) == 1
    assert "give their folder as --data" in capsys.readouterr().err


def test_a_try_leaves_the_published_pictures_alone(published, tmp_path, repository):
    picture = repository / "docs" / "zoo-emodb4.png"
    before = picture.stat().st_mtime_ns
    assert main(["zoo", "--results", str(published)]) == 0
    assert (tmp_path / "zoo-emodb4.png").stat().st_size > 5000
    assert picture.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"seeds": [0, 1, 0]}, "a seed is given twice: 0 1 0"),
        ({"scale_epochs": float("nan")}, "nan; valid: above 0, at most 1"),
        ({"scale_epochs": 0.0}, "valid: above 0"),
        ({"protocol_names": ["one-corpus"]}, "no row of the zoo is scored by"),
        ({"protocol_names": ["emdb4"]}, "unknown protocol 'emdb4'; valid: ravdess"),
    ],
)
def test_what_cannot_be_made_is_refused_before_any_work(asked, told, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(EdgeSerError, match=told):
        zoo_run.run(["small"], tmp_path, out, results=tmp_path / "zoo", **asked)
    assert not out.exists()


def test_a_damaged_row_is_named_before_it_is_made_again(published, tmp_path):
    (published / "small-emodb4").mkdir()
    (published / "small-emodb4" / "row.json").write_text("{")
    with pytest.raises(RunError, match="small-emodb4: not a published row"):
        zoo_run.run(
            ["small"], tmp_path, tmp_path, protocol_names=["emodb4"], results=published
        )


def test_interrupted_trainings_do_not_count_as_short_ones(tmp_path):
    folders = [tmp_path / str(number) for number in range(3)]
    assert zoo_run.mean_cost_s(folders) is None
    for folder, cpu_s in zip(folders[:2], (100.0, 140.0), strict=True):
        runs.write(folder / "cost.json", json.dumps({"cpu_s": cpu_s}))
    assert zoo_run.mean_cost_s(folders) == 120.0


def test_published_rows_are_not_made_again(published, tmp_path, capsys):
    name = "cnn1d-lstm"
    publish(published, name, 12, {})
    before = (published / "ledger.csv").read_text()
    zoo_run.run(
        [name],
        tmp_path / "none",
        tmp_path / "out",
        protocol_names=["emodb4"],
        results=published,
    )
    assert "published already" in capsys.readouterr().out
    assert (published / "ledger.csv").read_text() == before
    with pytest.raises(RunError, match="no row 'resnet'"):
        zoo_run.run(["resnet"], tmp_path, tmp_path)


def networks():
    """Names and protocols of the networks that are published."""
    for file in sorted(zoo_results.RESULTS.glob("*/row.json")):
        row, values = zoo_results.read(file.parent)
        if row["name"] in (*zoo_results.OWN, *zoo_run.NETWORKS):
            yield row["name"], values["protocol"]


@pytest.mark.parametrize(("name", "protocol"), networks())
def test_published_networks_would_be_trained_alike_today(name, protocol, tmp_path):
    row, trained = zoo_run.published_row(name, protocol, zoo_results.RESULTS)
    assert trained.recipe.epochs == row["epochs"]
    nowhere = tmp_path / "none"  # the trials are there, so nothing is trained
    kind, chosen = zoo_run.choice(name, nowhere, nowhere, 1, zoo_results.RESULTS, 1.0)
    assert kind == row["recipe"]
    if protocol == zoo_run.TRIAL_PROTOCOL:
        assert chosen == trained
    shutil.copytree(zoo_results.RESULTS / f"{name}-{protocol}", tmp_path / "a")
    other = {**row, "epochs": row["epochs"] + 1}
    (tmp_path / "a" / "row.json").write_text(json.dumps(other))
    (tmp_path / "a").rename(tmp_path / f"{name}-{protocol}")
    with pytest.raises(RunError, match="another configuration than today's"):
        zoo_run.published_row(name, protocol, tmp_path)


def test_our_recipe_is_that_of_our_small_network():
    small = config.load(zoo_run.CONFIGS / "small.toml")
    for name in zoo_run.NETWORKS:
        both = zoo_run.recipes(name)
        paper, ours = both["paper"], both["ours"]
        assert (ours.architecture, ours.features, ours.model) == (
            paper.architecture,
            paper.features,
            paper.model,
        )
        assert ours.recipe == small.recipe
        masks = ("time_mask_frames", "frequency_mask_bands")
        unmasked = dict.fromkeys(masks, 0)
        if name == "waveform":
            levels = ("frequency_warp", "gain_db", "frequency_masks")
            unmasked |= {**dict.fromkeys(levels, 0), "noise_snr_db": None}
        assert dataclasses.replace(ours.augmentation, **unmasked) == (
            dataclasses.replace(small.augmentation, **unmasked)
        )
        assert ours.corpora == paper.corpora == small.corpora  # the same data for all
        german = zoo_run.for_protocol(ours, "emodb4")
        assert german.corpora == ("emodb",)
        assert set(german.labels) == {"angry", "happy", "neutral", "sad"}
    assert zoo_run.recipes("small") == {"ours": small}
    alone = zoo_run.recipes("standard-alone")["ours"]
    standard = config.load(zoo_run.CONFIGS / "standard.toml")
    assert (alone.model, alone.features) == (standard.model, standard.features)
    assert (alone.corpora, alone.recipe) == (small.corpora, small.recipe)


RISES, RISEN = [0.2, 0.3, 0.4, 0.5], [0.2, 0.4, 0.5, 0.51]


@pytest.mark.parametrize(
    ("curves", "chosen"),
    [
        ([RISEN], 0),
        ([RISES], None),
        ([RISES, RISEN], 1),
        ([RISES, [0.2, 0.5, 0.4, 0.5]], 0),  # as good as twice as long
        ([RISES, [0.2, 0.4, 0.5, 0.6]], None),
        ([RISES, [0.2, 0.4, 0.5, 0.6], [0.2, 0.4, 0.5, 0.55]], 1),
    ],
)
def test_twice_as_long_counts_only_where_it_ends_higher(curves, chosen):
    assert zoo_run.long_enough(curves) == chosen


@pytest.mark.parametrize(("clips", "times"), [(1440, 1), (588, 2), (339, 4), (4481, 1)])
def test_a_corpus_of_fewer_clips_gets_as_many_steps(clips, times):
    small = zoo_run.recipes("small")["ours"]
    longer = zoo_run.as_many_steps(small, clips, 1440)
    assert longer.recipe.epochs == times * small.recipe.epochs
    assert longer.name == small.name


def test_our_masks_are_as_long_and_as_wide_at_any_frame_rate():
    made = {name: zoo_run.recipes(name)["ours"] for name in zoo_run.NETWORKS}
    widths = {}
    for name, ours in made.items():
        spec, masks = ours.features, ours.augmentation
        hop_s = spec.hop_samples / spec.sample_rate_hz
        assert abs(masks.time_mask_frames * hop_s - 0.24) <= hop_s / 2, name
        widths[name] = (masks.time_mask_frames, masks.frequency_mask_bands)
    assert widths["cnn1d"] == (24, 5)  # 10 ms, 40 MFCC
    assert widths["lstm-stacked"] == (12, 2)  # 20 ms, 13 MFCC
    assert widths["cnn2d"] == (12, 16)  # 20 ms, 128 bands


@pytest.mark.parametrize("name", zoo_run.NETWORKS)
def test_our_recipe_varies_what_every_network_takes(name):
    """And standard's rooms, equaliser and noise: log-mel, whatever is made of it."""
    standard = config.load(zoo_run.CONFIGS / "standard.toml").augmentation
    assert standard.reverberation
    assert standard.noise_folder
    ours = zoo_run.recipes(name)["ours"]
    random = np.random.default_rng(0)
    bands = frame_spec(ours.features).n_static

    def spectra(count, level):
        return random.normal(level, 2, (count, bands)).astype(np.float32)

    samples = zoo.takes_samples(ours.architecture)
    clips = [
        made_up_clip(number, str(number % 4), ours.labels[number % 8], "ravdess")
        for number in range(64)
    ]
    features = FeatureSet(
        ours.features,
        tuple(clips),
        spectra(64 * 90, -4),
        np.arange(65) * 90,
        samples=samples,
    )
    mean, std = stored_statistics(features)
    fitted = dataclasses.replace(
        ours.features, mean=(*mean.tolist(),), std=(*std.tolist(),)
    )
    features = dataclasses.replace(features.with_spec(fitted), noise=(spectra(50, -6),))
    for augmentation in (ours.augmentation, *(() if samples else (standard,))):
        varied = dataclasses.replace(ours, augmentation=augmentation)
        inputs, _ = next(iter(Batches(features, varied, seed=0)))
        assert inputs.shape[1:] == (fitted.frames_per_window, fitted.n_features)
        assert np.isfinite(inputs).all()


def test_the_most_telling_rows_come_first():
    six = {"light_sernet", "timnet", "lstm_stacked", "cnn1d_lstm"}
    six |= {"transformer", "reslstm"}
    made = [zoo_run.recipes(name)["paper"].architecture for name in zoo_run.NETWORKS]
    assert set(made[:6]) == six
    assert set(made) | {"resnet2d"} == set(zoo.ARCHITECTURES)


def test_published_figures_are_those_of_the_saved_predictions():
    root = pathlib.Path("training/results/zoo")
    rows = zoo_results.load()
    assert rows
    for row in (row for row in rows if (root / row["folder"]).exists()):
        folder = root / row["folder"]
        _, predictions = report.read_predictions(folder / "predictions.csv")
        figures = json.loads((folder / "figures.json").read_text())
        table = report.figures_table(predictions, row["protocol"])
        assert figures == report.rounded(table)
    same = zoo_results.TABLE.read_text() == zoo_results.markdown(rows)
    assert same, "zoo.md is not that of the saved files: run python -m training zoo"
