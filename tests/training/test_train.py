import csv
import itertools
import json

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="needs TensorFlow, so Python 3.11 or 3.12")

from edge_ser.errors import ConfigError
from training import config, runs, stages, zoo
from training.batches import Batches
from training.corpora import find_clips
from training.errors import ProtocolError, RunError
from training.keras import tf, tf_keras
from training.objective import soft_cross_entropy
from training.predict import clip_windows
from training.train import recalibrate_batch_norm, train


def test_a_few_epochs_on_real_voices_beat_chance_on_strangers(trained):
    run, _ = trained
    with (run.folder / "history.csv").open(newline="") as file:
        last = list(csv.DictReader(file))[-1]
    # Four classes: chance is 0.25.
    assert float(last["validation_ua"]) > 0.5
    assert float(last["loss"]) < 1.2
    assert (run.folder / "learning-curve.png").stat().st_size > 5000


def test_the_run_says_what_it_learned_from(trained):
    run, features = trained
    learned = {c.speaker for c in features.clips if run.trained_on(c)}
    assert learned == {c.speaker for c in features.clips} - {"03", "08"}
    assert runs.load(run.folder) == run


def test_the_same_seed_trains_the_same_weights(trained, tmp_path):
    run, features = trained
    quick = config.parse(
        {**run.config.to_dict(), "recipe": {"epochs": 1, "batch_size": 16}}
    )
    few = features.subset(range(0, len(features.clips), 6))
    again = [
        stages.train_run(
            quick, few, run.data, tmp_path / str(number), seed=seed, fold=None
        ).model()
        for number, seed in enumerate((3, 3, 4))
    ]
    window = clip_windows(features.with_spec(run.spec), 0, 50)[:1]
    one, same, other = (model.predict(window, verbose=0) for model in again)
    np.testing.assert_allclose(one, same, atol=1e-5)
    assert np.abs(one - other).max() > 1e-3


def test_training_in_bfloat16_keeps_a_float32_model_that_learned_as_much(
    trained, tmp_path
):
    run, features = trained
    few = features.subset(range(0, len(features.clips), 3))
    logits = []
    for compute in ("float32", "bfloat16"):
        quick = config.parse(
            {
                **run.config.to_dict(),
                "recipe": {"epochs": 3, "batch_size": 16, "compute": compute},
            }
        )
        made = stages.train_run(
            quick, few, run.data, tmp_path / compute, seed=3, fold=None
        )
        model = made.model()
        assert {layer.compute_dtype for layer in model.layers} == {"float32"}
        assert {weight.dtype for weight in model.weights} == {tf.float32}
        window = clip_windows(features.with_spec(made.spec), 0, 50)[:1]
        logits.append(model.predict(window, verbose=0))
    # Other rounding, the same learning: alike, and not the same.
    assert 1e-5 < np.abs(logits[0] - logits[1]).max() < 0.3


def test_the_loss_has_the_right_gradient_for_weighted_targets():
    # tf.nn.softmax_cross_entropy_with_logits assumes targets that sum to 1.
    targets = np.array([[0.3, 0.1, 0.2]], np.float32)
    logits = np.array([[1.0, -2.0, 0.5]], np.float32)
    variable = tf.Variable(logits)
    with tf.GradientTape() as tape:
        loss = soft_cross_entropy(targets, variable)
    gradient = tape.gradient(loss, variable).numpy()
    softmax = np.exp(logits) / np.exp(logits).sum()
    np.testing.assert_allclose(gradient, targets.sum() * softmax - targets, rtol=1e-5)
    np.testing.assert_allclose(loss, -(targets * np.log(softmax)).sum(), rtol=1e-5)


def test_batch_norm_is_measured_over_the_whole_pass():
    inputs = tf_keras.layers.Input((4,))
    model = tf_keras.Model(inputs, tf_keras.layers.BatchNormalization()(inputs))
    batches = [(np.full((8, 4), n, np.float32), None) for n in range(20)]
    recalibrate_batch_norm(model, batches)
    norm = model.layers[1]
    np.testing.assert_allclose(norm.moving_mean.numpy(), 9.5)
    np.testing.assert_allclose(norm.moving_variance.numpy(), 0, atol=1e-6)
    assert norm.momentum == 0.99


def test_training_again_leaves_nothing_of_the_former_run(trained, tmp_path):
    run, features = trained
    folder = tmp_path / "run"
    quick = config.parse({**run.config.to_dict(), "recipe": {"epochs": 1}})
    few = features.subset(range(0, len(features.clips), 6))
    stages.train_run(quick, few, run.data, folder, seed=0, fold=None)
    (folder / "bundles").mkdir()
    for stale in ("predictions.csv", "bundles/int8.tflite"):
        (folder / stale).touch()
    stages.train_run(quick, few, run.data, folder, seed=1, fold=None)
    left = sorted(path.name for path in folder.iterdir())
    assert left == ["history.csv", "learning-curve.png", "model.keras", "run.json"]


def test_only_the_very_same_configuration_gets_published_figures(trained, monkeypatch):
    run, _ = trained
    published = stages.published_config("standard")
    assert published is not None
    assert stages.measured_figures(published)
    other = config.parse({**run.config.to_dict(), "name": "standard"})
    assert stages.measured_figures(other) == ()


@pytest.mark.parametrize("features", [{"n_mfcc": 13}, {"deltas": 1}])
def test_views_are_of_bands_alone(trained, features):
    values = trained[0].config.to_dict()
    values["model"] = {**values["model"], "views": 2}
    assert config.parse(values).model["views"] == 2
    values["features"] = {**values["features"], **features}
    with pytest.raises(ConfigError, match="valid: log-mel without deltas"):
        config.parse(values)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"channels": ["a"]}, "channels is 'a'; valid: int"),
        ({"channels": [8] * 12}, "cannot be built"),
        ({"pools": [[2, 1]]}, "valid: one for each of channels, 4"),
        ({"dropout": 2.0}, "cannot be built"),
        ({"towers": 0}, "towers are 0; valid: 1 and more"),
        ({"views": 4}, "views are 4; valid: 1, 2, 3"),
        ({"width": 3}, "no setting 'width'"),
    ],
)
def test_impossible_networks_are_one_line_errors(settings, message):
    with pytest.raises(ConfigError, match=message) as caught:
        zoo.build("resnet2d", 128, 40, 4, settings)
    assert "\n" not in str(caught.value)


def test_class_weights_make_rare_classes_count(trained):
    run, features = trained
    balanced = config.parse(
        {**run.config.to_dict(), "recipe": {"class_weight_power": 1.0}}
    )
    batches = Batches(features, balanced, 0)
    count = np.bincount(batches.labels)
    np.testing.assert_allclose(batches.class_weights * count, len(batches.labels) / 4)


def test_a_fold_keeps_its_test_speakers_out(trained):
    run, features = trained
    learned, tested = stages.split(features, run.config, 3)
    assert {clip.speaker for clip in tested.clips} == {"09"}
    assert "09" not in {clip.speaker for clip in learned.clips}
    assert len(learned.clips) + len(tested.clips) == len(features.clips)
    with pytest.raises(ProtocolError, match="no fold 11"):
        stages.split(features, run.config, 11)
    with pytest.raises(ProtocolError, match="emodb/99"):
        stages.hold_out(features, ["emodb/99"])
    everybody = {clip.speaker_key for clip in features.clips}
    with pytest.raises(ProtocolError, match="no clip is left"):
        stages.train_run(
            run.config,
            features,
            run.data,
            run.folder / "none",
            seed=0,
            fold=None,
            validation_speakers=sorted(everybody),
        )
    with pytest.raises(ProtocolError, match="emodb/09"):
        stages.train_run(
            run.config,
            features,
            run.data,
            run.folder / "none",
            seed=0,
            fold=3,
            validation_speakers=["emodb/09"],
        )


def test_calibration_windows_come_from_training_speakers_alone(trained):
    run, features = trained
    learned = stages.training_features(run, features)
    windows, names = stages.calibration_windows(learned, 50, 0)
    assert windows.shape == (256, 128, 40)
    assert not [name for name in names if name.startswith(("emodb/03", "emodb/08"))]
    labels = {clip.name: clip.emotion for clip in features.clips}
    counts = [
        sum(labels[name.split("/")[1]] == label for name in names)
        for label in run.config.labels
    ]
    assert min(counts) > 30


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(RunError, match="no finished run"):
        runs.load(tmp_path)
    (tmp_path / "run.json").write_text('{"config": ')
    with pytest.raises(RunError, match="damaged"):
        runs.load(tmp_path)


def test_a_run_whose_config_was_edited_is_refused(repository, tmp_path):
    """Other labels would be other names for what the network answers."""
    # Written when a config had fewer keys.
    checkpoint = repository / "training/checkpoints/standard"
    assert runs.load(checkpoint).config.name == "standard"
    values = json.loads((checkpoint / "run.json").read_text())
    values["config"]["labels"].reverse()
    (tmp_path / "run.json").write_text(json.dumps(values))
    with pytest.raises(RunError, match="not the one it was trained with"):
        runs.load(tmp_path)


def test_every_corpus_of_the_default_is_found(corpora_folder, repository):
    standard = config.load(repository / "training/configs/standard.toml")
    clips = stages.usable_clips(standard, corpora_folder)
    assert len(find_clips(corpora_folder, standard.corpora)) == 3447
    assert len(clips) == 3447 - 9  # nine bored clips of EMO-DB


def test_the_recipe_names_the_optimizer(trained):
    run, features = trained
    few = features.subset(range(0, len(features.clips), 12))
    moved = []
    for named in (
        {"optimizer": "adamw"},
        {"optimizer": "adamw", "adam_betas": [0.5, 0.6]},
        {"optimizer": "rmsprop"},
    ):
        recipe = {"epochs": 1, "batch_size": 16, "average_momentum": 0.0, **named}
        quick = config.parse({**run.config.to_dict(), "recipe": recipe})
        model, _, _ = train(few, quick, 3)
        moved.append(model.get_weights()[0])
    for one, other in itertools.combinations(moved, 2):
        assert np.abs(one - other).max() > 1e-5


@pytest.mark.parametrize(
    ("recipe", "told"),
    [
        ({"optimizer": "sgd"}, "valid: adamw, rmsprop"),
        ({"adam_betas": [0.9, 1.0]}, "adam_betas is 1.0"),
        ({"adam_betas": [0.9]}, "adam_betas is .*valid: a list of"),
    ],
)
def test_an_optimizer_that_cannot_be_is_refused(trained, recipe, told):
    run, _ = trained
    with pytest.raises(ConfigError, match=told):
        config.parse({**run.config.to_dict(), "recipe": recipe})
