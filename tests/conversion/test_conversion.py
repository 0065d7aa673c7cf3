"""A small run through every stage of conversion, and each promise read back."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="needs TensorFlow, so Python 3.11 or 3.12")

from conversion import bundles, edgetpu, flatbuffer, variants, verify
from conversion.__main__ import main
from conversion.errors import ConversionError
from conversion.prune import MIN_KERNEL_SIZE, prune
from conversion.tflite import convert
from edge_ser import bundle
from edge_ser.classifier import Classifier
from training import config as configs
from training import protocol, runs, stages, zoo
from training.keras import tf_keras
from training.predict import clip_windows

layers = tf_keras.layers

MADE = ("float32", "dynamic-range", "int8", "int8-pruned", "int8-slim")
INT8 = [name for name in MADE if name.startswith("int8")]


@pytest.fixture(scope="module")
def converted(trained):
    run, features = trained
    out = run.folder / "bundles"
    command = ["convert", str(run.folder), "--out", str(out), "--explain"]
    assert main([*command, "--variants", *MADE]) == 0
    return run, features, out


def proofs(out):
    found = json.loads((out / "proof.json").read_text())
    return {proof["variant"]: proof for proof in found}


def test_each_variant_is_what_it_says(converted):
    _, _, out = converted
    found = proofs(out)
    assert set(found) == set(MADE)
    assert "int8" not in found["float32"]["tensors"]
    for variant in INT8:
        proof = found[variant]
        assert set(proof["tensors"]) == {"int8", "int32"}
        assert proof["input_dtype"] == proof["output_dtype"] == "int8"
        assert proof["input_quantization"][0] > 0
        assert proof["agreement"] > 0.9
        assert set(proof["runtimes"].values()) == {"runs"}
        assert proof["portable_spread"] <= 1
        assert set(proof["portable_shift"]) == set(proof["runtimes"])
    assert {"ai-edge-litert", "tflite-runtime", "tensorflow"} >= set(
        found["int8"]["runtimes"]
    )
    assert len(found["int8"]["runtimes"]) >= 2
    assert found["float32"]["agreement"] == 1
    assert found["int8"]["model_bytes"] < 0.6 * found["float32"]["model_bytes"]
    assert any(name.startswith("CONV_2D ") for name in found["int8"]["operators"])


def test_an_interpreter_that_refuses_is_named_and_no_failure(converted):
    """tflite-runtime 2.14 does not know what TensorFlow 2.17 writes here."""
    _, _, out = converted
    runtimes = proofs(out)["dynamic-range"]["runtimes"]
    assert "runs" in runtimes.values()
    refused = [state for state in runtimes.values() if state != "runs"]
    assert all("\n" not in state and len(state) > 10 for state in refused)
    table = (out / "proof.md").read_text()
    assert all(state in table for state in refused)
    assert all(f"| {variant} |" in table for variant in MADE)


def test_pruned_weights_are_zero_in_the_file(converted):
    _, _, out = converted

    def zeros(variant):
        model = bundle.read(out / f"{variant}.tflite").model
        return flatbuffer.zero_fraction(flatbuffer.read(model))

    assert zeros("int8-pruned") >= 0.5
    assert zeros("int8") < 0.1
    pruned = bundle.read(out / "int8-pruned.tflite").model
    assert flatbuffer.kernels(flatbuffer.read(pruned))


def test_whole_channels_are_gone_from_the_file(converted):
    _, _, out = converted
    found = proofs(out)
    assert found["int8-slim"]["macs"] <= 0.6 * found["int8"]["macs"]
    pairs = zip(found["int8-slim"]["channels"], found["int8"]["channels"], strict=True)
    assert all(few <= many for few, many in pairs)
    counts = " ".join(map(str, found["int8-slim"]["channels"]))
    assert f"| int8-slim | {counts} |" in (out / "proof.md").read_text()


def test_the_layers_that_lose_most_are_told(converted):
    _, _, out = converted
    told = json.loads((out / "explain.json").read_text())
    graph = flatbuffer.read(bundle.read(out / "int8.tflite").model)
    assert len(told) > 0.8 * len(graph.operators)
    assert all(layer["noise_db"] < 0 for layer in told)
    first = next(layer for layer in told if layer["operator"] == "RESHAPE")
    # The input is only rounded: the mean square of that is a twelfth of a step's.
    assert first["steps"] == pytest.approx(12**-0.5, rel=0.15)


def test_the_card_names_training_and_calibration(converted):
    run, features, out = converted
    card = bundle.read(out / "int8.tflite").card
    assert card.labels == run.config.labels
    assert card.calibration["windows"] == len(set(card.calibration["clips"])) == 256
    assert set(card.calibration["clips"]) <= run.clips
    emotion = {runs.clip_key(clip): clip.emotion for clip in features.clips}
    count = [emotion[clip] for clip in card.calibration["clips"]]
    shares = [count.count(label) for label in run.config.labels]
    # Even, as far as there are clips of each.
    assert max(shares) - min(shares) <= 256 - 4 * min(shares)
    assert min(shares) > 30
    assert card.training_data[0]["licence"] == "CC0 1.0"
    assert card.training_data[0]["speakers"] == 8
    assert card.licence == "as its training data: CC0 1.0"
    assert bundle.read(out / "float32.tflite").card.calibration == {}


def test_the_same_run_gives_the_same_bytes_and_proofs(
    converted, tmp_path, capsys, monkeypatch
):
    """The fine-tuned ones too: nothing is kept from the first time."""
    run, features, out = converted
    # As on a machine of other cores.
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "3")
    cache = run.folder.parent / "cache"
    again = stages.convert_run(
        run, features, run.data, cache, tmp_path, ["int8", "int8-pruned"]
    )
    for variant, path in again.items():
        assert path.read_bytes() == (out / f"{variant}.tflite").read_bytes()
    verify_again = ["verify", str(run.folder), str(tmp_path)]
    assert main(verify_again) == 0
    assert "unseen clips" in capsys.readouterr().out
    found = proofs(tmp_path)
    assert main([*verify_again, "--score"]) == 1
    told = capsys.readouterr()
    assert "left no fold out" in told.err
    assert not told.out  # it says so before it proves anything
    assert found == {variant: proofs(out)[variant] for variant in again}


def test_what_another_recipe_fine_tuned_is_not_taken_again(converted):
    run, features, out = converted
    variant = variants.BY_NAME["int8-slim"]

    def kept(run, features=features):
        job = stages.conversion_job(run, features, run.data, run.folder)
        return out / "keras" / bundles._kept_name(job, variant, None)

    assert kept(run).exists()
    for change in ({"prune_epochs": 3}, {"prune_learning_rate": 1e-3}):
        recipe = dataclasses.replace(run.config.recipe, **change)
        config = dataclasses.replace(run.config, recipe=recipe)
        assert not kept(dataclasses.replace(run, config=config)).exists()
    assert not kept(dataclasses.replace(run, seed=1)).exists()
    assert not kept(run, features.subset(range(0, len(features.clips), 2))).exists()


@pytest.fixture
def copied(converted, tmp_path):
    """Bundles of a run beside it, to be spoilt."""
    run, _, out = converted
    # Where what they were made from is the same way off.
    bundles = shutil.copytree(out, run.folder / tmp_path.name)
    yield run, bundles
    shutil.rmtree(bundles)


def keep(folder, *variants):
    for file in folder.glob("*.tflite"):
        if file.stem not in variants:
            file.unlink()


@pytest.mark.parametrize("options", [[], ["--score"]])
@pytest.mark.parametrize("variant", ["float32", "int8", "int8-slim"])
def test_another_runs_bundles_are_not_taken(copied, tmp_path, capsys, variant, options):
    """They may have learned from the very speakers that the run left out."""
    run, folder = copied
    keep(folder, variant)
    # Of the same clips even: another seed.
    shutil.copy(run.folder / "run.json", tmp_path)
    model = run.model()
    model.set_weights([weight * 1.01 for weight in model.get_weights()])
    model.save(tmp_path / "model.keras")
    assert main(["verify", str(tmp_path), str(folder), *options]) == 1
    told = capsys.readouterr()
    assert f"{variant}.tflite was not made of {tmp_path}" in told.err
    assert not told.out


def test_a_bundle_in_the_place_of_another_is_named(copied, capsys):
    run, folder = copied
    shutil.copy(folder / "float32.tflite", folder / "int8.tflite")
    shutil.copy(folder / "int8-pruned.tflite", folder / "int8-slim.tflite")
    keep(folder, "int8", "int8-slim")
    assert main(["verify", str(run.folder), str(folder)]) == 1
    told = capsys.readouterr().err
    assert "int8.tflite is not what was made; convert again" in told
    assert "int8-slim.tflite is not what was made; convert again" in told
    # An earlier version did not note what it had made.
    file = folder / "conversion.json"
    origins = json.loads(file.read_text())
    for origin in origins.values():
        del origin["tflite_sha256"]
    file.write_text(json.dumps(origins))
    assert main(["verify", str(run.folder), str(folder)]) == 1
    told = capsys.readouterr().err
    assert "int8: its card's quantization: 'float32'; valid: 'int8'" in told
    assert "int8: input float32, output float32" in told
    valid = "'int8-pruned'; valid: 'int8-slim'"
    assert f"int8-slim: its card's quantization: {valid}" in told


def test_a_card_that_is_not_the_runs_is_named(copied, capsys):
    run, folder = copied
    keep(folder, "float32")
    file = folder / "float32.tflite"
    made = bundle.read(file)
    features = dataclasses.replace(made.card.features, f_min_hz=100.0)
    card = dataclasses.replace(
        made.card,
        labels=made.card.labels[::-1],
        features=features,
        temperature=2.0,
        hop_frames=7,
        licence="mine",
    )
    bundle.write(file, card, made.model)
    assert main(["verify", str(run.folder), str(folder)]) == 1
    told = capsys.readouterr().err
    labels = "('angry', 'sad', 'happy', 'neutral')"
    assert f"float32: its card's labels: {labels}; valid: ('neutral'," in told
    assert "float32: its card's features.f_min_hz: 100.0; valid: 20.0" in told
    assert "float32: its card's temperature: 2.0; valid: 1.0" in told
    assert "float32: its card's hop_frames: 7; valid: 50" in told
    assert told.count("its card's") == 4
    (proof,) = json.loads((folder / "proof.json").read_text())
    assert len(proof["card_faults"]) == 4
    assert "- float32: its card's temperature" in (folder / "proof.md").read_text()


@pytest.mark.parametrize("speakers", [("03",), ("03", "08")])
def test_what_bundles_reach_is_in_their_proof(
    copied, monkeypatch, tmp_path, capsys, speakers
):
    run, folder = copied
    keep(folder, "float32", "int8")
    # As if it had left a fold out: it never heard these.
    tested = tuple(f"emodb/{speaker}" for speaker in speakers)
    left_out = dataclasses.replace(protocol.load("emodb4"), test_speakers={1: tested})
    monkeypatch.setattr(protocol, "load", lambda name, clips=(): left_out)
    trained = tmp_path / "fold-1"
    shutil.copytree(run.folder, trained, ignore=shutil.ignore_patterns("bundles"))
    shutil.rmtree(trained / folder.name)
    values = json.loads((trained / "run.json").read_text())
    (trained / "run.json").write_text(json.dumps(values | {"fold": 1}))
    cache = ["--cache", str(run.folder.parent / "cache")]
    command = ["verify", str(trained), str(folder), *cache, "--score"]
    assert main([*command, "--results", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    (line,) = csv.DictReader((tmp_path / "ledger.csv").read_text().splitlines())
    assert line["variant"] == "keras float32 int8"
    keras_ua, *uas = map(float, line["ua"].split())
    scores = {name: proof["score"] for name, proof in proofs(folder).items()}
    assert [score["ua"] for score in scores.values()] == pytest.approx(uas, abs=1e-4)
    several = len(speakers) > 1
    for score in scores.values():
        assert (score["protocol"], score["fold"]) == ("emodb4", 1)
        assert score["speakers"] == len(speakers)
        assert 20 < score["clips"] < 100
        assert 0.4 < score["wa"] <= 1
        difference = score["ua_minus_keras"]
        assert difference == pytest.approx(score["ua"] - keras_ua, abs=1e-4)
        for name in ("ua_95", "wa_95", "ua_minus_keras_95"):
            assert (score[name] is not None) == several
    score = scores["int8"]
    cell = f"| int8 | {100 * score['ua']:.1f} " + ("[" if several else "| ")
    page = (folder / "proof.md").read_text()
    assert cell in page and cell in told
    who = f"{score['clips']} clips of {len(speakers)} speaker(s) whom fold 1 of emodb4"
    assert who in page
    # It stays in the proof when another variant joins.
    convert = ["convert", str(trained), "--out", str(folder), "--variants", "float16"]
    assert main([*convert, *cache]) == 0
    assert proofs(folder)["int8"]["score"] == score
    assert proofs(folder)["float16"]["score"] is None
    assert cell in (folder / "proof.md").read_text()


def test_a_further_variant_joins_the_proofs_of_those_before(
    converted, tmp_path, capsys
):
    run, _, _ = converted
    convert = ["convert", str(run.folder), "--out", str(tmp_path), "--variants"]
    assert main([*convert, "float32"]) == 0
    assert "nothing is published of trial" in capsys.readouterr().err
    before = proofs(tmp_path)["float32"]
    assert main([*convert, "float16"]) == 0
    assert list(proofs(tmp_path)) == ["float32", "float16"]
    assert proofs(tmp_path)["float32"] == before
    assert "| float32 |" in (tmp_path / "proof.md").read_text()
    (tmp_path / "float32.tflite").unlink()
    assert main([*convert, "float16"]) == 0
    assert list(proofs(tmp_path)) == ["float16"]


def test_inspecting_tells_card_operators_sizes_and_graph(converted, capsys):
    _, _, out = converted
    path = out / "int8-pruned.tflite"
    assert main(["inspect", str(path)]) == 0
    text = capsys.readouterr().out
    for word in (
        "edge-ser-trial",
        "CONV_2D 3",
        "model part",
        "int8[1x128x40]",
        "zeros",
    ):
        assert word in text
    assert main(["inspect", str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["model_bytes"] == len(bundle.read(path).model)
    assert found["macs"] == sum(node["macs"] for node in found["graph"])


def test_the_device_runtime_agrees_with_keras_on_strangers(converted):
    run, features, out = converted
    classifier = Classifier.load(out / "float32.tflite")
    model = run.model()
    for index in range(0, len(features.clips), 40):
        clip = features.clips[index]
        windows = clip_windows(
            features.with_spec(run.spec), index, run.config.hop_frames
        )
        logits = model.predict(windows, verbose=0)
        expected = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        from training.dataset import read_clip

        answer = classifier.classify(read_clip(clip.path, 16000), 16000)
        np.testing.assert_allclose(
            list(answer.probabilities.values()), expected.mean(0), atol=2e-3
        )


def test_pruning_leaves_the_original_alone():
    model = tf_keras.Sequential(
        [layers.Input((8, 4)), layers.Flatten(), layers.Dense(100), layers.Dense(2)]
    )
    model.layers[1].build((None, 32))
    before = [weight.copy() for weight in model.get_weights()]

    def fine_tune(wrapped, callbacks):
        wrapped.compile("sgd", "mse")
        wrapped.fit(
            np.ones((8, 8, 4)), np.ones((8, 2)), verbose=0, callbacks=list(callbacks)
        )

    pruned = prune(model, 0.75, fine_tune)
    for old, now in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, now)
    kernels = [w for w in pruned.get_weights() if w.size >= MIN_KERNEL_SIZE]
    assert [round(float((w == 0).mean()), 2) for w in kernels] == [0.75]


def test_recurrent_and_one_dimensional_kernels_are_pruned_too():
    model = tf_keras.Sequential(
        [
            layers.Input((8, 4)),
            layers.Conv1D(64, 8, padding="same"),
            layers.LSTM(24, unroll=True),
            layers.Dense(2),
        ]
    )

    def fine_tune(wrapped, callbacks):
        wrapped.compile("sgd", "mse")
        wrapped.fit(
            np.ones((8, 8, 4)), np.ones((8, 2)), verbose=0, callbacks=list(callbacks)
        )

    pruned = prune(model, 0.75, fine_tune)
    kernels = [w for w in pruned.get_weights() if w.size >= MIN_KERNEL_SIZE]
    assert [w.shape for w in kernels] == [(8, 4, 64), (64, 96), (24, 96)]
    assert [round(float((w == 0).mean()), 2) for w in kernels] == [0.75] * 3


def test_the_projections_of_an_attention_are_pruned_too():
    tf_keras.utils.set_random_seed(0)  # or a weight may come back to where it was
    inputs = layers.Input((8, 32))
    x = layers.MultiHeadAttention(4, 24)(inputs, inputs)
    model = tf_keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x)))
    before = [weight.copy() for weight in model.get_weights()]

    def fine_tune(wrapped, callbacks):
        wrapped.compile("adam", "mse")
        random = np.random.default_rng(0)
        windows = random.normal(size=(8, 8, 32))
        wrapped.fit(
            windows, np.ones((8, 2)), epochs=3, verbose=0, callbacks=list(callbacks)
        )

    pruned = prune(model, 0.75, fine_tune)
    kernels = [w for w in pruned.get_weights() if w.size >= MIN_KERNEL_SIZE]
    assert len(kernels) == 4  # query, key, value, output
    assert [round(float((w == 0).mean()), 2) for w in kernels] == [0.75] * 4
    # What is left has been trained, and the original stays.
    pairs = zip(before, pruned.get_weights(), model.get_weights(), strict=True)
    for old, now, kept in pairs:
        assert (now != old)[now != 0].all()
        np.testing.assert_array_equal(old, kept)


def test_pruning_refuses_to_remove_everything():
    with pytest.raises(ConversionError, match="sparsity is 1"):
        prune(None, 1, lambda model, callbacks: None)


def test_a_converter_that_dies_is_an_error_and_no_crash():
    # A recurrence left as a loop makes TensorFlow 2.17's int8 converter segfault.
    inputs = layers.Input((12, 8))
    model = tf_keras.Model(inputs, layers.Dense(2)(layers.GRU(4)(inputs)))
    with pytest.raises(ConversionError, match=r"converter (died|failed)"):
        convert(model, np.zeros((16, 12, 8), np.float32))


def test_proof_names_a_broken_promise(converted, tmp_path):
    run, features, out = converted
    original = bundle.read(out / "float32.tflite")
    lying = tmp_path / "int8.tflite"
    card = dataclasses.replace(original.card, quantization="int8")
    bundle.write(lying, card, original.model)
    windows = clip_windows(features.with_spec(run.spec), 0, 50)
    proof = verify.prove(lying, card, run.folder / "model.keras", windows)
    assert any("float32 tensors in int8" in text for text in proof.problems)
    assert any("input float32" in text for text in proof.problems)


def test_proof_names_variants_that_save_nothing_and_a_strange_model(
    converted, tmp_path
):
    run, features, out = converted
    dense = bundle.read(out / "int8.tflite")
    windows = np.concatenate(
        [
            clip_windows(features.with_spec(run.spec), index, 50)[:1]
            for index in range(0, len(features.clips), 5)
        ]
    )
    stranger = tmp_path / "stranger.keras"
    tf_keras.models.clone_model(run.model()).save(stranger)  # other weights
    found = []
    for variant in ("int8-pruned", "int8-slim"):
        lying = tmp_path / f"{variant}.tflite"
        card = dataclasses.replace(dense.card, quantization=variant)
        bundle.write(lying, card, dense.model)
        found.append(verify.prove(lying, card, stranger, windows))
    assert any("% zeros; 50% were to be pruned" in text for text in found[0].problems)
    assert any("agrees with Keras on" in text for text in found[0].problems)
    honest = dataclasses.replace(found[0], variant="int8")
    problems = verify.all_problems([honest, found[1]])
    assert any("0.0% fewer multiplications only" in text for text in problems)


def test_proof_names_wrong_kernels_and_wrong_ranges(converted, tmp_path):
    """Two faults of the tools that leave a file which looks right.

    The reference kernels of TensorFlow 2.17 fail on a Transformer; an LSTM that goes
    straight into an addition gets the range of the sum for its own.
    """
    _, _, out = converted
    card = bundle.read(out / "int8.tflite").card
    features = dataclasses.replace(card.features, frames_per_window=48, n_mels=16)
    card = dataclasses.replace(card, features=features, speakers={}, hop_frames=48)
    small = {"width": 16, "blocks": 1, "heads": 2, "feed_forward": 8}
    inputs = layers.Input((48, 16))
    x = layers.Add()([layers.LSTM(16, return_sequences=True)(inputs), inputs])
    x = layers.Dense(4)(layers.GlobalAveragePooling1D()(x))
    random = np.random.default_rng(0)
    windows = np.cumsum(random.normal(size=(24, 48, 16)), 1).astype(np.float32) / 4
    found = {}
    tf_keras.utils.set_random_seed(1)
    for name, model in (
        ("transformer", zoo.build("transformer", 48, 16, 4, small)),
        ("added", tf_keras.Model(inputs, x)),
    ):
        path = tmp_path / f"{name}.tflite"
        bundle.write(path, card, convert(model, windows[:16]))
        model.save(tmp_path / f"{name}.keras")
        found[name] = verify.prove(path, card, tmp_path / f"{name}.keras", windows)
    wrong = "tensorflow: reference kernels are"
    assert any(text.startswith(wrong) for text in found["transformer"].problems)
    assert found["transformer"].agreement > verify.MIN_AGREEMENT
    assert any("agrees with Keras on" in text for text in found["added"].problems)


@pytest.mark.parametrize("name", ["coral", "standard"])
def test_only_the_network_without_attention_maps_wholly(repository, name):
    config = configs.load(repository / f"training/configs/{name}.toml")
    # The same operators, sooner; heard once, since a batch of three is refused for all.
    settings = config.model | {"channels": (8, 12, 16), "views": 1}
    labels = len(config.labels)
    model = zoo.build(config.architecture, 64, config.features.n_mels, labels, settings)
    shape = (16, 64, config.features.n_mels)
    windows = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    placements = edgetpu.check(convert(model, windows))
    refused = {p.operator for p in placements if p.refusals}
    assert refused == (set() if name == "coral" else {"BATCH_MATMUL"})


@pytest.mark.long
def test_training_with_quantization_in_place(converted, tmp_path):
    run, _, _ = converted
    names = ["float16", "int8-qat", "int8-pruned-80", "int8-pqat"]
    command = ["convert", str(run.folder), "--out", str(tmp_path), "--variants", *names]
    assert main(command) == 0  # each keeps its promise

    def zeros(variant):
        model = bundle.read(tmp_path / f"{variant}.tflite").model
        return flatbuffer.zero_fraction(flatbuffer.read(model))

    # A kernel's share is rounded to whole weights.
    assert zeros("int8-pruned-80") >= 0.799
    assert zeros("int8-pqat") >= 0.499
    assert zeros("int8-qat") < 0.1
    assert bundle.read(tmp_path / "int8-qat.tflite").card.calibration == {}
