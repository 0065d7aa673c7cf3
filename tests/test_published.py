"""What the README and the bundled card claim is what the saved files give."""

from __future__ import annotations

import csv
import dataclasses
import json
import pathlib
import re

import pytest

from edge_ser import bundle
from edge_ser.classifier import Classifier

ROOT = pathlib.Path(__file__).parents[1]
STANDARD = ROOT / "training/results/standard"
README = (ROOT / "README.md").read_text()


@pytest.fixture(scope="module")
def report():
    from training import report

    return report


@pytest.fixture(scope="module")
def rows(report):
    return report.read_predictions(STANDARD / "predictions.csv")[1]


def test_every_table_row_of_the_readme_is_recomputed(report, rows):
    table = report.figures_table(rows, "ravdess")
    for line in report.markdown("standard", table).splitlines():
        if line.startswith("|"):
            assert line in README
    assert json.loads((STANDARD / "figures.json").read_text()) == report.rounded(table)


def test_what_the_coral_page_tells_is_recomputed(report, rows):
    from conversion import edgetpu
    from training.metrics import paired_difference

    folder = STANDARD.parent / "coral"
    _, saved = report.read_predictions(folder / "predictions.csv")
    table = report.figures_table(saved, report.protocol_of(folder))
    assert json.loads((folder / "figures.json").read_text()) == report.rounded(table)
    page = (ROOT / "docs/coral.md").read_text()
    for line in report.markdown("coral", table).splitlines()[2:8]:
        assert line in page, line
    ours = report.markdown("standard", report.figures_table(rows, "ravdess"))
    (pruned,) = (x for x in ours.splitlines()[2:8] if x.startswith("| int8-pruned"))
    told = pruned.split("|")[2].strip()
    assert f"`standard` reaches {told} there" in page
    bands = report.read_predictions(STANDARD.parent / "standard-bands/predictions.csv")
    coral_by, bands_by = map(report.by_variant, (saved, bands[1]))

    def against(others, variant):
        pair = (report.scored(each[variant]) for each in (others, coral_by))
        difference = paired_difference(*pair)
        ends = f"{100 * difference.low:+.1f}, {100 * difference.high:+.1f}"
        return f"{100 * difference.value:+.1f} [{ends}]"

    default_by = report.by_variant(row for row in rows if row["seed"] == "0")
    assert f"other is {against(default_by, 'int8-pruned')}, one seed of each" in page
    told = f"the other is {against(bands_by, 'int8-pruned')} on the same clips"
    assert f"{told} (before pruning {against(bands_by, 'keras')})" in page
    model = bundle.read(folder / "fold-1.tflite").model
    placements = edgetpu.check(model)
    assert not any(placement.refusals for placement in placements)
    assert f"All of its {len(placements)} operators are" in page
    assert f"in {len(model) / 1e3:.0f} kB" in page
    default = edgetpu.check(bundle.read("standard").model)
    stay = sum(not placement.is_mapped for placement in default)
    told = " ".join((ROOT / "docs/conversion.md").read_text().split())
    assert f"that {stay} of its {len(default)} operators stay on the CPU" in told


@pytest.mark.parametrize(
    "name",
    [
        "small-ravdess-sentences",
        "standard-leave-one-corpus-out",
        "standard-one-corpus",
        "standard-emodb4-emovo-nemo",
    ],
)
def test_what_strangers_get_is_recomputed(report, name):
    from training import comparison

    folder = STANDARD.parent / name
    _, saved = report.read_predictions(folder / "predictions.csv")
    table = report.figures_table(saved, report.protocol_of(folder))
    assert json.loads((folder / "figures.json").read_text()) == report.rounded(table)
    shown = report.markdown(name, table)
    of_variant = report.by_variant(saved)["int8-pruned"]
    if len({row["corpus"] for row in saved}) > 1:
        head = ["corpus", "UA", "WA", "clips"]
        shown += "\n" + report.markdown_table(
            head, comparison.groups(of_variant, "corpus", {})
        )
    page = (STANDARD.parent / "strangers.md").read_text()
    for line in shown.splitlines():
        assert line in page, line
    if "corpus" in name:
        for row in _learnt_and_tested(of_variant, name.endswith("out")):
            assert row in page, row
    if name.endswith("sentences"):
        assert f"to {100 * table[0]['ua']:.1f} on words" in README
    if name.endswith("one-corpus-out"):
        assert f"recognises {100 * table[-1]['ua']:.1f} %" in README
    if "emodb4" in name:
        told = " ".join(README.split())
        for _, ua, _, _ in comparison.groups(of_variant, "corpus", {}):
            assert ua.split()[0] in told
        # What a clip's corpus does not know is no answer to it.
        known = json.loads((ROOT / "training/folds.json").read_text())
        names = {"emodb": "emodb4", "emovo": "emovo", "nemo": "nemo"}
        for row in saved:
            classes = known[names[row["corpus"]]]["classes"]
            assert {row["label"], row["predicted"]} <= {*classes}
            shares = {c[2:]: float(row[c]) for c in row if c.startswith("p_")}
            assert sum(shares[label] for label in classes) == pytest.approx(1, abs=1e-3)


def _learnt_and_tested(asked, of_all_others):
    """The table's rows: UA by the corpus that taught and the corpus that was asked."""
    from training import comparison

    names = ["emodb", "emovo", "nemo", "ravdess"]

    def line(taught, rows):
        groups = comparison.groups(rows, "corpus", {})
        found = {name: ua.split()[0] for name, ua, *_ in groups}
        return f"| {taught} | {' | '.join(found.get(name, '') for name in names)} |"

    if of_all_others:
        return [line("the three others", asked)]
    return [
        line(taught, [row for row in asked if row["fold"] == str(fold)])
        for fold, taught in enumerate(names, 1)
    ]


@pytest.mark.parametrize(
    "name", sorted(p.name for p in STANDARD.parent.glob("*-leak-*"))
)
def test_what_a_leak_is_worth_is_recomputed(report, name):
    folder = STANDARD.parent / name
    _, saved = report.read_predictions(folder / "predictions.csv")
    table = report.figures_table(saved, report.protocol_of(folder))
    assert json.loads((folder / "figures.json").read_text()) == report.rounded(table)
    page = (STANDARD.parent / "leak.md").read_text().split()
    for line in report.markdown(name, table).splitlines():
        assert " ".join(line.split()) in " ".join(page)
    # Each clip once on both sides, and the honest side as the folds have it.
    folds = report.protocol_of(folder)
    strangers = json.loads((ROOT / "training/folds.json").read_text())[folds]
    sides = report.by_variant(saved)
    assert {row["clip"] for row in sides["honest"]} == {
        row["clip"] for row in sides[report.LEAKY]
    }
    for row in sides["honest"]:
        assert row["speaker"] in strangers["test_speakers"][row["fold"]]


def test_the_ablation_is_recomputed_from_its_trials():
    from training import ablation_results

    table = ablation_results.markdown(
        ablation_results.read(STANDARD.parent / "ablation")
    )
    assert table in (STANDARD.parent / "ablation.md").read_text()


def test_what_variants_cost_is_recomputed():
    from training import variants_results

    page = variants_results.RESULTS.with_suffix(".md")
    assert page.exists() == variants_results.RESULTS.exists()
    if page.exists():
        assert page.read_text() == variants_results.page()


def test_figures_are_rounded_once(report):
    """962 of 1439 is 66.852 %: by way of 66.85 it would become 66.8."""
    rows = [
        {
            "corpus": "ravdess",
            "clip": f"{number:04}",
            "speaker": str(number % 24),
            "fold": "1",
            "seed": "0",
            "variant": variant,
            "label": "sad",
            "predicted": "sad" if number >= wrong else "calm",
        }
        for variant, wrong in (("keras", 477), ("int8", 482))
        for number in range(1439)
    ]
    keras, int8 = report.figures_table(rows, "ravdess")
    assert report.percent(keras, "wa").startswith("66.9 [")
    assert report.loss(int8).startswith("-0.3 [")  # -0.347
    assert report.rounded([keras])[0]["wa"] == 0.6685


def test_int8_keeps_its_promises(report, rows):
    table = {row["variant"]: row for row in report.figures_table(rows, "ravdess")}
    assert table["int8-pruned"]["ua"] >= 0.60  # the variant that ships
    assert table["int8"]["ua_minus_keras"] >= -0.010
    assert table["int8-pruned"]["ua_minus_keras"] >= -0.015


def test_the_ledger_counts_every_scoring(report, rows):
    with (ROOT / "training/results/ledger.csv").open(newline="") as file:
        entries = list(csv.DictReader(file))
    times = {1: "once", 2: "twice"}.get(len(entries), f"{len(entries)} times")
    told = re.sub(r"\s+", " ", README)
    assert f"folds were scored {times}" in told
    with (ROOT / "training/results/zoo/ledger.csv").open(newline="") as file:
        assert f"zoo's rows were scored {len(list(csv.DictReader(file)))} times" in told
    ours = [entry for entry in entries if entry["config"].startswith("standard ")]
    last = [entry for entry in ours if not entry["note"]][-1]
    table = {row["variant"]: row for row in report.figures_table(rows, "ravdess")}
    assert float(last["ua"]) == pytest.approx(table[last["variant"]]["ua"], abs=1e-4)


def test_no_clip_is_scored_by_a_model_that_knew_its_speaker(rows):
    folds = json.loads((ROOT / "training/folds.json").read_text())["ravdess"]
    for row in rows:
        assert row["speaker"] in folds["test_speakers"][row["fold"]]
    assert len({row["clip"] for row in rows}) == 1439
    for fold, speakers in folds["test_speakers"].items():
        card = bundle.read(STANDARD / f"fold-{fold}.tflite").card
        trained = {e["corpus"]: e for e in card.training_data if "corpus" in e}
        assert trained["ravdess"]["speakers"] == 24 - len(speakers)
        for clip in card.calibration["clips"]:
            corpus, _, name = clip.partition("/")
            assert corpus != "ravdess" or name[-2:] not in speakers


@pytest.mark.parametrize("name", bundle.SHIPPED)
def test_a_bundled_card_carries_the_fold_models_figures(name, report):
    from training import config as toml_config

    card = bundle.read(name).card
    assert (card.name, card.quantization) == (f"edge-ser-{name}", "int8-pruned")
    folder = ROOT / "training/results" / name
    figures = json.loads((folder / "figures.json").read_text())
    assert [dict(row) for row in card.measured] == figures
    saved = report.read_predictions(folder / "predictions.csv")[1]
    table = report.figures_table(saved, report.protocol_of(folder))
    assert report.rounded(table) == figures
    assert ("non-commercial" in card.licence) == (name != "open")
    assert "Not for decisions about people" in card.intended_use
    config = json.loads((folder / "config.json").read_text())
    assert list(card.labels) == config["labels"]
    shipped = toml_config.load(ROOT / f"training/configs/{name}.toml")
    assert toml_config.parse(config) == shipped


def test_what_is_said_of_peers_is_measured(report):
    zoo = ROOT / "training/results/zoo"

    def row(name):
        folder = zoo / f"{name}-ravdess"
        _, saved = report.read_predictions(folder / "predictions.csv")
        figures = report.figures_table(saved, "ravdess")
        ua, of_float = (
            next(100 * f["ua"] for f in figures if f["variant"] == variant)
            for variant in ("int8", "keras")
        )
        row = json.loads((zoo / f"{name}-ravdess/row.json").read_text())
        return ua, row["macs"], row["int8_bytes"], of_float

    (their_ua, their_macs, their_bytes, _), (ua, macs, size, _), tim_net = map(
        row, ("light-sernet", "small", "tim-net")
    )
    stacked, after_convolutions = row("lstm-stacked")[0], row("cnn1d-lstm")[0]
    svm = json.loads((zoo / "compare-svm-ravdess/figures.json").read_text())[0]
    told = " ".join(README.split())
    assert f"reaches {their_ua:.1f} UA in int8 with {their_macs / 1e6:.0f} M" in told
    assert f"ours {ua:.1f} with {macs / 1e6:.1f} M" in told
    assert f"TIM-Net {tim_net[0]:.1f} with {tim_net[1] / 1e6:.0f} M" in told
    page = " ".join((ROOT / "docs/choosing-a-model.md").read_text().split())
    assert f"falls from {tim_net[3]:.1f} to {tim_net[0]:.1f}" in page
    assert f"{ua - their_ua:.1f} points below the mean of `small`" in page
    assert f"13 MFCC reach {stacked:.1f}, less" in page
    assert f"on functionals ({100 * svm['ua']:.1f})" in page
    assert f"a recurrence reaches {after_convolutions:.1f}." in page
    assert f"for {their_macs / macs:.0f} times the MACs" in page
    assert f"and {their_bytes / size:.1f} times the file" in page
    trials = json.loads((zoo / "trials/light-sernet/trial.json").read_text())["trials"]
    worse = trials["ours"]["validation_ua"] - trials["paper"]["validation_ua"]
    assert f"validated {100 * worse:.0f} points worse" in page
    page = (zoo.parent / "zoo.md").read_text()
    of_ravdess = page.split("## ravdess")[1].split("| --- |\n")[1]
    order = re.findall(r"^\| ([a-z0-9-]+) ", of_ravdess, re.MULTILINE)  # by accuracy
    others = [each for each in order if not each.startswith(("standard", "small"))]
    assert (order[0], others[0]) == ("standard-alone", "light-sernet")
    ua, its_macs, *_ = row("standard-alone")
    assert f"`standard` {ua:.1f} with {its_macs / 1e6:.1f} M" in told


@pytest.mark.parametrize("name", bundle.SHIPPED)
def test_an_older_card_is_renewed_with_the_published_figures(name, tmp_path):
    from training.__main__ import main

    shipped = bundle.read(name)
    older = dataclasses.replace(
        shipped.card, measured=shipped.card.measured[:1], temperature=9.0
    )
    file = tmp_path / "model.tflite"
    bundle.write(file, older, shipped.model)
    assert main(["card", str(file)]) == 0
    renewed = bundle.read(file)
    assert (renewed.model, renewed.card) == (shipped.model, shipped.card)


def test_a_card_gets_no_figures_of_something_else(tmp_path, capsys):
    from conversion.__main__ import main as conversion
    from conversion.sign import generate
    from training.__main__ import main

    shipped = bundle.read("nano")
    generate(tmp_path / "key")
    for name, change, message in (
        ("unknown", {"name": "edge-ser-mine"}, "nothing is published of edge-ser-mine"),
        ("other-hop", {"hop_frames": 7}, "nothing is published of edge-ser-nano as it"),
        ("fold", {"measured": ()}, "has no figures to renew"),
        ("signed", {}, "is signed"),
    ):
        file = tmp_path / f"{name}.tflite"
        bundle.write(file, dataclasses.replace(shipped.card, **change), shipped.model)
        if name == "signed":
            key = str(tmp_path / "key.key")
            assert conversion(["sign", str(file), "--key", key]) == 0
        before = file.read_bytes()
        capsys.readouterr()
        assert main(["card", str(file)]) != 0
        assert message in capsys.readouterr().err
        assert file.read_bytes() == before


@pytest.mark.parametrize(
    ("name", "bytes_at_most", "macs_at_most"),
    [
        ("standard", 150e3, 40e6),
        ("nano", 60e3, 5e6),
        ("open", 150e3, 40e6),
        ("mfcc", 150e3, 40e6),
    ],
)
def test_what_ships_is_small_and_says_so(name, bytes_at_most, macs_at_most, report):
    from conversion.macs import macs

    read = bundle.read(name)
    size, work = len(read.model), macs(read.model)
    assert size <= bytes_at_most
    assert work <= macs_at_most
    folder = ROOT / "training/results" / name
    saved = report.read_predictions(folder / "predictions.csv")[1]
    shipped = report.figures_table(saved, report.protocol_of(folder))[-1]
    low, high = (100 * bound for bound in shipped["ua_95"])
    page = (ROOT / "docs/choosing-a-model.md").read_text()
    told = f"| {size / 1e3:.0f} kB | {work / 1e6:.1f} M | {len(read.card.labels)} |"
    assert f"| `{name}` {told}" in page
    assert f"{100 * shipped['ua']:.1f} [{low:.1f}, {high:.1f}]" in page


def test_the_checkpoint_is_the_network_of_the_bundled_model():
    pytest.importorskip("tensorflow", reason="needs TensorFlow: Python 3.11 or 3.12")
    from training import config as toml_config
    from training import runs, zoo
    from training.train import start_from

    folder = ROOT / "training/checkpoints/standard"
    assert sum(file.stat().st_size for file in folder.iterdir()) < 600_000
    run, card = runs.load(folder), bundle.read().card
    assert (run.spec, run.config.labels) == (card.features, card.labels)
    heard = [entry for entry in card.training_data if "corpus" in entry]
    assert len(run.clips) == sum(entry["clips"] for entry in heard)
    assert run.data == pathlib.Path(".")
    shipped = toml_config.load(ROOT / "training/configs/standard.toml")
    model = zoo.build(
        shipped.architecture,
        run.spec.frames_per_window,
        run.spec.n_features,
        len(shipped.labels),
        shipped.model,
    )
    start_from(model, run, shipped)


@pytest.mark.parametrize("fold", range(1, 7))
def test_fold_bundles_give_their_predictions_again(fold, rows, corpora_folder):
    pytest.importorskip("soundfile", reason="needs the extra 'files'")
    from training.dataset import read_clip

    classifier = Classifier.load(STANDARD / f"fold-{fold}.tflite")
    shipped = [
        row
        for row in rows
        if (row["variant"], row["fold"]) == ("int8-pruned", str(fold))
        and row["seed"] == "0"  # whose bundles are kept
    ]
    wrong = 0
    for row in shipped[::6]:
        path = next((corpora_folder / "ravdess").rglob(f"{row['clip']}.*"))
        answer = classifier.classify(read_clip(path, 16000), 16000)
        wrong += answer.label != row["predicted"]
        for label, value in answer.probabilities.items():
            # Interpreters and processors round halves differently: an int8 step of a
            # logit moves a probability by some percent.
            assert value == pytest.approx(float(row[f"p_{label}"]), abs=0.04)
    assert wrong <= 1


NOT_USED = "in rooms, not used to them"


def test_what_the_listener_announces_is_what_was_measured():
    results = json.loads((ROOT / "benchmarks/results/listening.json").read_text())
    page = (ROOT / "docs/microphones.md").read_text()
    for setting in (*("speech", "quiet speech", "speech in rooms"), NOT_USED):
        found = results[setting]
        row = (
            f"| {found['announced']:.1%} | {found['announced_or_uncertain']:.1%} "
            f"| {found['right_of_announced']:.1%} | {found['median_delay_s']:.2f} s "
            f"| {found['changes_per_utterance']:.2f} |"
        )
        assert row.replace("%", " %") in page
    assert results["noise"]["hours"] >= 4
    assert results["noise"]["events"] == results["music"]["events"] == 0
    assert f"{results['babble']['events_per_hour']:.0f} announcements an hour" in page
    # The goals: an event an hour, nine of ten, two seconds.
    assert results["speech"]["announced"] >= 0.9
    assert results["speech"]["median_delay_s"] <= 2


def test_what_getting_used_to_a_room_gains_is_what_was_measured():
    results = ROOT / "benchmarks/results"
    page = (ROOT / "docs/microphones.md").read_text()
    trials = (STANDARD.parent / "flagship.md").read_text()
    measured = json.loads((results / "places.json").read_text())
    assert measured["clips"] == 1439
    for name, row in measured["groups"].items():
        told = f"| {name} | {100 * row['each clip alone']['ua'][0]:.1f} |"
        for mode in ("one person", "a household"):
            gain, low, high = (100 * each for each in row[mode]["gain"])
            gained = f"{gain:+.1f} [{low:+.1f}, {high:+.1f}]"
            assert f"{100 * row[mode]['ua'][0]:.1f}, {gained}" in trials
            told += f" {100 * row[mode]['ua'][0]:.1f} | {gained} |"
        assert told in page
    for name in ("nano", "mfcc", "open"):
        groups = json.loads((results / f"places-{name}.json").read_text())["groups"]
        gains = [
            f"{100 * groups[group]['a household']['gain'][0]:.1f}"
            for group in ("rooms", "telephone band")
        ]
        assert re.search(rf"`{name}`[^`]*\b{gains[0]}\b[^`]*\b{gains[1]}\b", page)
    # Nothing is paid for it in the studio; rooms gain beyond chance.
    assert measured["groups"]["studio"]["a household"]["gain"][0] >= -0.005
    assert measured["groups"]["rooms"]["one person"]["gain"][1] > 0
