"""Each switch of a configuration does what it says."""

import dataclasses
import functools

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="needs TensorFlow, so Python 3.11 or 3.12")

from conversion.prune import prune
from conversion.quantize import quantization_aware
from conversion.slim import slim
from edge_ser.errors import ConfigError
from made_up import made_up_config
from training import runs, stages, teaching, zoo
from training.batches import Batches
from training.errors import ProtocolError, RunError
from training.keras import tf, tf_keras
from training.objective import (
    SHARE,
    GradientReversal,
    Objective,
    soft_cross_entropy,
)
from training.predict import keras_logits, predict_clips, softmax
from training.progress import Progress
from training.schedule import Schedule
from training.targets import Distillation, Heads, heads_of
from training.train import start_from, train


def network(config):
    spec = config.features
    return zoo.build(
        config.architecture,
        spec.frames_per_window,
        spec.n_features,
        len(config.labels),
        config.model,
    )


def test_balanced_sampling_draws_labels_equally_often(made_up):
    rare = [i for i, clip in enumerate(made_up.clips) if clip.emotion == "sad"]
    uneven = made_up.subset([i for i in range(32) if i not in rare[4:]])
    batches = Batches(
        uneven, made_up_config(recipe={"balanced_sampling": True, "batch_size": 10}), 0
    )
    assert np.bincount(batches.labels).tolist() == [16, 4]
    order = batches._order()
    assert np.bincount(batches.labels[order]).tolist() == [10, 10]
    np.testing.assert_allclose(batches.class_weights, 1)
    # no clip twice before every other of its label was drawn
    assert len(set(order[batches.labels[order] == 0])) == 10
    assert np.bincount(order[batches.labels[order] == 1]).max() <= 3


def test_a_talkative_speaker_is_heard_no_more_often_than_others(made_up):
    keys = np.array([clip.speaker_key for clip in made_up.clips])
    first, *others = sorted(set(keys))
    few = [i for i, key in enumerate(keys) if key == first]
    few += [i for key in others for i in np.flatnonzero(keys == key)[:2]]
    uneven = made_up.subset(few)
    config = made_up_config(recipe={"clips_per_speaker": 3, "batch_size": 3})
    batches = Batches(uneven, config, 0)
    drawn = {key: set() for key in {first, *others}}
    for _ in range(20):
        order = batches._order()
        assert len(order) == 3 + 2 * len(others) == len(set(order))
        heard = [uneven.clips[i].speaker_key for i in order]
        assert heard.count(first) == 3
        for i in order:
            drawn[uneven.clips[i].speaker_key].add(i)
    assert len(drawn[first]) == (keys == first).sum() > 3  # all, in their turn
    assert batches.per_epoch == (3 + 2 * len(others)) // 3


def test_two_ways_to_fill_an_epoch_are_refused(made_up):
    with pytest.raises(ConfigError, match="valid: one of them"):
        made_up_config(recipe={"clips_per_speaker": 3, "balanced_sampling": True})


def test_an_epoch_follows_from_its_number_alone(made_up):
    config = made_up_config()
    whole = iter(Batches(made_up, config, 5))
    drawn = [next(whole) for _ in range(3 * 4)]  # three epochs of four batches
    third = next(iter(Batches(made_up, config, 5, first_epoch=2)))
    np.testing.assert_array_equal(third[0], drawn[8][0])
    np.testing.assert_array_equal(third[1], drawn[8][1])
    assert not np.array_equal(drawn[0][0], drawn[4][0])


def test_focal_loss_makes_little_of_what_is_sure():
    targets = np.array([[1.0, 0.0], [1.0, 0.0]], np.float32)
    logits = np.array([[4.0, 0.0], [0.0, 0.0]], np.float32)
    plain = soft_cross_entropy(targets, logits).numpy()
    focal = soft_cross_entropy(targets, logits, 2.0).numpy()
    p = 1 / (1 + np.exp(-np.array([4.0, 0.0])))
    np.testing.assert_allclose(plain, -np.log(p), rtol=1e-5)
    np.testing.assert_allclose(focal, -((1 - p) ** 2) * np.log(p), rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "shares"),
    [
        ("cosine", [1.0, 0.5, 0.0]),
        ("linear", [1.0, 0.5, 0.0]),
        ("exponential", [1.0, 0.1, 0.01]),
        ("steps", [1.0, 0.1, 0.01]),
        ("constant", [1.0, 1.0, 1.0]),
    ],
)
def test_schedules(name, shares):
    schedule = Schedule(name, 2.0, 10, 110)
    rates = [float(schedule(step)) for step in (0, 4, 9)]
    np.testing.assert_allclose(rates, [0.2, 1.0, 2.0], rtol=1e-6)
    later = [float(schedule(step)) / 2 for step in (10, 60, 110)]
    np.testing.assert_allclose(later, shares, atol=1e-6)


def test_the_gradient_is_reversed_at_its_strength():
    layer = GradientReversal()
    value = tf.Variable([[2.0, 3.0]])
    layer(value)
    layer.strength.assign(0.25)
    with tf.GradientTape() as tape:
        out = layer(value)
        total = tf.reduce_sum(out * [[1.0, 4.0]])
    np.testing.assert_array_equal(out, value)
    np.testing.assert_allclose(tape.gradient(total, value), [[-0.25, -1.0]])


def test_heads_are_asked_of_those_who_know(made_up):
    heads = heads_of(Heads(gender=0.5, intensity=1.0, corpus=0.1), made_up.clips)
    gender, intensity, corpus = heads
    assert (gender.classes, gender.weight) == (("female", "male"), 0.5)
    assert intensity.classes == ("normal", "strong")
    assert intensity.truth[:16].sum() == 0  # that corpus does not grade it
    assert (intensity.truth[16:].sum(1) == 1).all()
    assert corpus.truth[:, 0].sum() == 16
    with pytest.raises(ConfigError, match=r"corpus is 1\.0"):
        heads_of(Heads(corpus=1.0), made_up.clips[:16])
    assert heads_of(Heads(), made_up.clips) == ()


def test_the_joint_loss_is_the_weighted_sum(made_up):
    config = made_up_config(
        heads={"gender": 0.5, "adversarial_corpus": 2.0},
        distillation={"weight": 0.25, "temperature": 3.0},
    )
    heads = heads_of(config.heads, made_up.clips)
    teacher, student = network(config), network(config)
    objective = Objective(student, config, 4, heads, [teacher])
    assert objective.model.output_shape == (None, 2 + 2 + 2 + 2)
    inputs = np.random.default_rng(0).normal(size=(3, 32, 16)).astype(np.float32)
    outputs = objective.model(inputs)
    np.testing.assert_allclose(outputs[:, :2], student(inputs), atol=1e-5)
    asked = tf.nn.softmax(teacher(inputs) / 3.0)
    np.testing.assert_allclose(outputs[:, 6:], asked, atol=1e-5)
    targets = np.array([[1, 0, 0, 1, 1, 0]] * 3, np.float32)

    def entropy(columns, truth, heat=1.0):
        logs = tf.nn.log_softmax(outputs[:, columns : columns + 2] / heat)
        return -np.sum(truth * logs, 1)

    expected = (
        0.75 * entropy(0, targets[:, :2])
        + 0.25 * 9 * entropy(0, asked.numpy(), 3.0)
        + 0.5 * entropy(2, targets[:, 2:4])
        + 2.0 * entropy(4, targets[:, 4:])
    )
    np.testing.assert_allclose(objective.loss(targets, outputs), expected, rtol=1e-4)
    # the teacher is no part of what learns; the heads are
    learning = {w.name for w in objective.model.trainable_weights}
    assert len(learning) == len(student.trainable_weights) + 2 + 4


def test_each_tower_learns_as_if_alone(made_up):
    config = made_up_config(
        model={"towers": 3}, distillation={"weight": 0.25, "temperature": 3.0}
    )
    student, teacher = network(config), network(made_up_config())
    shares = tf_keras.Model(
        student.input, [student.get_layer(f"share_{i}").output for i in range(3)]
    )
    inputs = np.random.default_rng(0).normal(size=(5, 32, 16)).astype(np.float32)
    alone = [3 * share.numpy() for share in shares(inputs)]
    np.testing.assert_allclose(student(inputs), np.mean(alone, 0), atol=1e-5)
    assert np.abs(alone[0] - alone[1]).max() > 0.1

    truth = np.array([[0.2, 0.8]] * 5, np.float32)
    objective = Objective(student, config, 4)
    losses = objective.loss(truth, objective.model(inputs))
    expected = [soft_cross_entropy(truth, logits) for logits in alone]
    np.testing.assert_allclose(losses, np.mean(expected, 0), rtol=1e-4)
    right = tf_keras.metrics.categorical_accuracy(truth, np.mean(alone, 0))
    np.testing.assert_array_equal(
        objective.accuracy(truth, objective.model(inputs)), right
    )
    asked = tf.nn.softmax(teacher(inputs) / 3.0)
    lessons = [9 * soft_cross_entropy(asked, logits / 3.0) for logits in alone]
    taught = 0.75 * np.mean(expected, 0) + 0.25 * np.mean(lessons, 0)
    for objective, targets in (
        (Objective(student, config, 4, teachers=[teacher]), truth),
        (
            Objective(student, config, 4, clip_teaching=True),
            np.concatenate([truth, asked], 1),
        ),
    ):
        losses = objective.loss(targets, objective.model(inputs))
        np.testing.assert_allclose(losses, taught, rtol=1e-4)
    heads = heads_of(Heads(gender=0.5), made_up.clips)
    with pytest.raises(ConfigError, match="and one tower"):
        Objective(student, config, 4, heads)


def test_towers_learn_alone_in_every_network_that_is_fine_tuned():
    config = made_up_config(model={"channels": [16, 16], "towers": 2})
    student = network(config)
    inputs = np.random.default_rng(0).normal(size=(5, 32, 16)).astype(np.float32)
    truth = np.array([[0.2, 0.8]] * 5, np.float32)
    seen = []

    def fine_tune(model, callbacks):
        objective = Objective(model, config, 4)
        assert objective.towers == 2
        assert objective.model.output_shape == (None, 2 + 2 * 2)
        objective.model.compile("sgd", objective.loss)
        objective.model.fit(inputs, truth, verbose=0, callbacks=[*callbacks])
        seen.append(model)

    pruned = prune(student, 0.5, fine_tune)
    kernels = [w.numpy() for w in pruned.weights if w.shape == (3, 3, 16, 16)]
    assert [float((kernel == 0).mean()) for kernel in kernels] == [0.5] * 8
    quantization_aware(student, fine_tune, keep_zeros=False)
    smaller = slim(student, 0.4, fine_tune)
    assert smaller.count_params() < student.count_params()
    assert len(seen) == 3


def test_nothing_switched_on_trains_the_bare_network():
    config = made_up_config()
    student = network(config)
    assert Objective(student, config, 4).model is student


def run_of(folder, config, features, model=None):
    return runs.save(
        folder,
        model=model or network(config),
        config=config,
        seed=0,
        fold=None,
        spec=config.features,
        data=folder,
        clips=features.clips,
        history=[{"epoch": 1, "loss": 1.0, "accuracy": 0.5}],
    )


def biased(config, label):
    """A network that always says the same."""
    model = network(config)
    last = model.get_layer("logits")
    last.set_weights([np.zeros(last.kernel.shape), np.eye(2)[label] * 8])
    return model


@pytest.mark.parametrize("by", ["window", "clip"])
def test_a_student_follows_its_teacher_against_the_labels(made_up, tmp_path, by):
    config = made_up_config(
        distillation={
            "teachers": [str(tmp_path / "teacher-{fold}")],
            "weight": 1.0,
            "by": by,
        },
        recipe={"average_momentum": 0.0, "learning_rate": 0.01, "epochs": 5},
        augmentation={"mixup": 0.0},
    )
    run_of(tmp_path / "teacher-all", config, made_up, biased(config, 1))
    run = stages.train_run(
        config, made_up, tmp_path, tmp_path / "student", seed=0, fold=None
    )
    answers = predict_clips(keras_logits(run.model()), made_up, 16)
    assert (answers.argmax(1) == 1).all()


def test_teachers_that_do_not_fit_are_refused(made_up, tmp_path):
    config = made_up_config(distillation={"teachers": [str(tmp_path / "{fold}")]})
    few = made_up.subset(range(16))
    run_of(tmp_path / "all", config, few)
    find = teaching.find_teachers
    assert len(find(config, 0, None, made_up.clips, made_up.clips[16:])) == 1
    with pytest.raises(ProtocolError, match=r"test speakers took part.*emodb/1"):
        find(config, 0, None, made_up.clips, made_up.clips[8:9])
    with pytest.raises(RunError, match="no finished run"):
        find(config, 0, 3, made_up.clips, ())
    other = dataclasses.replace(config, labels=("sad", "happy"))
    with pytest.raises(RunError, match="knows happy, sad"):
        find(other, 0, None, made_up.clips, ())
    teachers = find(config, 0, None, made_up.clips, ())
    wider = dataclasses.replace(config.features, f_max_hz=4000.0)
    with pytest.raises(RunError, match="f_max_hz"):
        teaching.teach(config, teachers, few.with_spec(wider))
    with pytest.raises(ConfigError, match="placeholders"):
        Distillation(teachers=("run-{speaker}",)).folders(0, None)


def test_an_ensemble_teaches_its_mean(made_up, tmp_path):
    config = made_up_config(
        distillation={
            "teachers": [str(tmp_path / "a"), str(tmp_path / "b")],
            "by": "clip",
            "temperature": 2.0,
        }
    )
    models = [biased(config, 0), network(config)]
    teachers = [
        run_of(tmp_path / name, config, made_up, model)
        for name, model in zip("ab", models, strict=True)
    ]
    taught = teaching.teach(config, teachers, made_up)
    expected = []
    for model in models:
        ask = keras_logits(model)
        halved = functools.partial(lambda ask, inputs: softmax(ask(inputs) / 2.0), ask)
        expected.append(predict_clips(halved, made_up, 16))
    expected = np.mean(expected, 0)
    np.testing.assert_allclose(taught.answers, expected, atol=1e-5)


def weights_of(folder):
    return tf_keras.models.load_model(
        folder / "model.keras", compile=False
    ).get_weights()


class Killed(BaseException):
    """What stands for the end of the process."""


def test_a_killed_training_goes_on_as_if_it_had_not_been(
    made_up, tmp_path, monkeypatch
):
    # All that has a state: dropout, mixup, averaging, heads, early stopping.
    config = made_up_config(
        heads={"gender": 0.1, "adversarial_corpus": 0.1},
        recipe={"epochs": 4, "early_stopping_epochs": 4, "average_momentum": 0.8},
    )

    def start(folder):
        return stages.train_run(
            config,
            made_up,
            tmp_path,
            folder,
            seed=3,
            fold=None,
            validation_speakers=["emodb/0", "ravdess/3"],
        )

    start(tmp_path / "whole")
    save = Progress._save

    def save_and_die(self, file):
        save(self, file)
        if len(self.history) == 2:
            raise Killed

    monkeypatch.setattr(Progress, "_save", save_and_die)
    with pytest.raises(Killed):
        start(tmp_path / "cut")
    assert not (tmp_path / "cut/run.json").exists()
    start(tmp_path / "cut")
    assert not (tmp_path / "cut/checkpoint.npz").exists()
    whole, cut = weights_of(tmp_path / "whole"), weights_of(tmp_path / "cut")
    for one, other in zip(whole, cut, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    assert (tmp_path / "whole/history.csv").read_text().count("\n") == 5


def test_a_checkpoint_of_another_training_is_not_gone_on_from(tmp_path, capsys):
    file = tmp_path / "checkpoint.npz"

    def progress(identity):
        variable = tf.Variable([1.0, 2.0])
        watcher = Progress(
            epochs=3,
            validate=None,
            every=1,
            patience=0,
            seed=0,
            checkpoint=file,
            identity=identity,
        )
        watcher.watch([variable], list)
        return watcher, variable.numpy().tolist()

    first, _ = progress("a")
    first._variables[0].assign([5.0, 6.0])
    first.history.append({"epoch": 1, "loss": 0.5, "accuracy": 0.5})
    first._save(file)
    again, values = progress("a")
    assert (len(again.history), values) == (1, [5.0, 6.0])
    other, values = progress("b")
    assert (len(other.history), values) == (0, [1.0, 2.0])
    assert "of another training" in capsys.readouterr().out
    for content in (b"", b"PK\x03\x04", file.read_bytes()[:300]):
        file.write_bytes(content)
        damaged, values = progress("a")
        assert (len(damaged.history), values) == (0, [1.0, 2.0])
        assert "damaged; training starts anew" in capsys.readouterr().out


def test_early_stopping_keeps_the_best_epoch(made_up, tmp_path, monkeypatch):
    figures = iter([0.5, 0.9, 0.6, 0.7, 0.8, 0.1, 0.1])
    monkeypatch.setattr(
        "training.train._validator",
        lambda *_: lambda: {"validation_ua": next(figures)},
    )
    config = made_up_config(
        recipe={"epochs": 50, "early_stopping_epochs": 3, "average_momentum": 0.0}
    )
    validation = made_up.subset([0, 1])
    _, _, history = train(made_up, config, 0, validation)
    assert len(history) == 5  # three without a better one after the second
    assert [row["epoch"] for row in history if row.get("kept")] == [2]
    with pytest.raises(ConfigError, match="needs validation speakers"):
        train(made_up, config, 0)


def test_normalisations_side_by_side(made_up):
    """None, the window's level or means, mean and variance, corpus statistics."""
    from training.predict import clip_windows
    from training.train import fitted_spec

    def inputs(kind):
        config = made_up_config(features={"normalisation": kind})
        learned = made_up.with_spec(fitted_spec(config, made_up))
        return np.concatenate([clip_windows(learned, i, 8) for i in range(32)])

    plain = inputs("none")
    level = inputs("window_level")
    np.testing.assert_allclose(
        level, plain - plain.mean((1, 2), keepdims=True), atol=1e-5
    )
    np.testing.assert_allclose(
        inputs("window_mean"), plain - plain.mean(1, keepdims=True), atol=1e-5
    )
    standard = inputs("window")
    np.testing.assert_allclose(standard.mean(1), 0, atol=1e-4)
    np.testing.assert_allclose(standard.std(1), 1, atol=1e-3)
    stored = inputs("stored")
    assert np.abs(stored.mean((0, 1))).max() < 0.2
    assert np.abs(stored.std((0, 1)) - 1).max() < 0.2
    assert np.abs(stored.mean(1)).max() > 0.1


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"recipe": {"schedule": "cosin"}}, "schedule is 'cosin'"),
        ({"recipe": {"focal_gamma": -1.0}}, "focal_gamma"),
        ({"heads": {"gender": -1.0}}, "gender is -1"),
        ({"heads": {"age": 1.0}}, "unknown key 'age'"),
        ({"distillation": {"weight": 2.0}}, "weight is 2"),
        ({"distillation": {"temperature": 0.0}}, "temperature is 0"),
        ({"distillation": {"by": "frame"}}, "by is 'frame'"),
        ({"augmentation": {"noise_folder": "x"}}, "needs noise_snr_db"),
        ({"copies": {"count": 1}}, "nothing to vary"),
    ],
)
def test_mistakes_are_named(sections, message):
    with pytest.raises(ConfigError, match=message):
        made_up_config(**sections)


def test_a_full_disk_is_one_error_and_no_run(made_up, tmp_path):
    config = made_up_config()
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "partial-model.keras").symlink_to("/dev/full")
    with pytest.raises(RunError, match=r"model\.keras cannot be written"):
        run_of(folder, config, made_up)
    assert list(folder.iterdir()) == []
    watcher = Progress(
        epochs=3,
        validate=None,
        every=1,
        patience=0,
        seed=0,
        checkpoint=folder / "checkpoint.npz",
        identity="a",
    )
    watcher.watch([tf.Variable(np.zeros(100_000))], list)
    (folder / ".partial-checkpoint.npz").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        watcher._save(folder / "checkpoint.npz")
    assert list(folder.iterdir()) == []


def test_a_training_begins_with_the_weights_of_another(made_up, tmp_path):
    config = made_up_config()
    source = run_of(tmp_path / "source", config, made_up)
    copy = runs.load(runs.without_data(source, tmp_path / "copy"))
    assert copy.data.as_posix() == "."
    model = network(config)
    start_from(model, copy, config)
    for one, other in zip(
        model.get_weights(), source.model().get_weights(), strict=True
    ):
        np.testing.assert_array_equal(one, other)
    # other labels: everything but the last layer
    three = made_up_config(labels=["happy", "sad", "angry"])
    model = network(three)
    before = model.get_layer("logits").get_weights()
    start_from(model, copy, three)
    np.testing.assert_array_equal(before[0], model.get_layer("logits").get_weights()[0])
    np.testing.assert_array_equal(
        model.get_weights()[0], source.model().get_weights()[0]
    )
    often = made_up_config(model={"views": 3})  # of the same weights
    start_from(network(often), copy, often)
    wider = made_up_config(model={"channels": [8, 6]})
    with pytest.raises(RunError, match="another model"):
        start_from(network(wider), copy, wider)
    deeper = made_up_config(features={"f_max_hz": 4000.0})
    with pytest.raises(RunError, match="other features"):
        start_from(network(deeper), copy, deeper)


@pytest.mark.parametrize("labels", [["sad", "happy"], ["happy", "sad", "angry"]])
def test_towers_answer_anew_where_labels_are_others(made_up, tmp_path, labels):
    towers = {"channels": [8, 4], "towers": 2}
    config = made_up_config(model=towers)
    source = run_of(tmp_path / "source", config, made_up)
    other = made_up_config(model=towers, labels=labels)
    assert other.labels != config.labels
    model = network(other)
    before = [layer.get_weights() for layer in model.layers]
    start_from(model, source, other)
    for layer, fresh, taught in zip(
        model.layers, before, source.model().layers, strict=True
    ):
        answers = layer.name.startswith(SHARE)
        expected = fresh if answers else taught.get_weights()
        for one, two in zip(layer.get_weights(), expected, strict=True):
            np.testing.assert_array_equal(one, two)


def test_who_taught_a_forebear_is_no_stranger(made_up, tmp_path):
    config = made_up_config(recipe={"epochs": 1, "start_from": str(tmp_path / "a")})
    run_of(tmp_path / "a", made_up_config(), made_up.subset(range(16)))
    train_run = functools.partial(
        stages.train_run, config, made_up, tmp_path, tmp_path / "b", seed=0, fold=None
    )
    with pytest.raises(ProtocolError, match=r"a, to learn from: .*emodb/0"):
        train_run(validation_speakers=["emodb/0"])
    assert not (tmp_path / "b/run.json").exists()
    child = train_run(validation_speakers=["ravdess/3"])
    # and so on: the child's children know whom its own forebear heard
    few = made_up_config(labels=["happy", "sad"])
    grandchild = runs.save(
        tmp_path / "c",
        model=network(few),
        config=few,
        seed=0,
        fold=None,
        spec=few.features,
        data=tmp_path,
        clips=made_up.clips[16:17],
        history=[{"epoch": 1, "loss": 1.0, "accuracy": 0.5}],
        forebears=[child],
    )
    copy = runs.load(runs.without_data(grandchild, tmp_path / "copy"))
    assert runs.load(runs.without_data(child, tmp_path / "of-child")).fold is None
    first, last = made_up.clips[0], made_up.clips[31]
    assert (copy.trained_on(first), copy.has_heard(first)) == (False, True)
    assert (copy.trained_on(last), copy.has_heard(last)) == (False, False)


def test_a_label_of_test_speakers_alone_is_refused(made_up, tmp_path):
    mine = [c.speaker != "0" or c.emotion == "happy" for c in made_up.clips]
    clips = made_up.subset([i for i, keep in enumerate(mine) if keep])
    sad = sorted({c.speaker_key for c in clips.clips if c.emotion == "sad"})
    with pytest.raises(ProtocolError, match="no training clip of sad is left"):
        stages.train_run(
            made_up_config(),
            clips,
            tmp_path,
            tmp_path / "run",
            seed=0,
            fold=None,
            validation_speakers=sad,
        )
    assert not (tmp_path / "run").exists()
