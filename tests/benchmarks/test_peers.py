import json

import pytest

from benchmarks import __main__ as command_line
from benchmarks import peers, report
from edge_ser import bundle
from tiny_model import TINY_MODEL


def row(name, features, costs, arithmetic="float32"):
    found = {"name": name, "features": features, "arithmetic": arithmetic}
    return found | {"rounds_ms_a_second": costs, "ms_a_second_of_audio": costs[1]}


def test_ratios_are_against_the_rivals_cheaper_file():
    rows = [
        row("standard", "incremental", [1, 2, 2]),
        row("light-sernet", "librosa", [20, 20, 20], "dynamic-range"),
        row("light-sernet", "librosa", [50, 50, 50]),
        row("light-sernet", "incremental", [3, 4, 5]),
        row("tim-net", "librosa", [1, 1, 1]),
    ]
    whole, ours = peers.ratios(rows)
    assert (whole["rival"], whole["times"]) == ("light-sernet dynamic-range", 10)
    assert whole["range"] == [10, 20]
    assert whole["passed"]
    assert (ours["times"], ours["passed"]) == (2.5, False)
    # Without nano nothing is said of it; with it, its own goal holds.
    rows.append(row("nano", "incremental", [1, 1, 1]))
    assert [each["ours"] for each in peers.ratios(rows)][-1] == "nano"


def test_goals_say_what_is_not_scored():
    def of(name, macs, ua):
        return {"name": name, "macs": macs, "ua": ua and [ua, 0, 1]}

    ours = of("standard", 40, 0.68)
    macs, light, tim = peers.goals(
        [ours, of("light-sernet", 160, 0.62), of("tim-net", 90, None)]
    )
    assert (macs["value"], macs["passed"]) == (0.25, True)
    assert light["value"] == pytest.approx(0.06)
    assert light["told"] == "+6.0 points"
    assert light["passed"]
    assert (tim["value"], tim["passed"]) == (None, None)
    (more,) = peers.goals([of("standard", 41, 0.68), of("light-sernet", 160, 0.64)])[:1]
    assert not more["passed"]


def test_peers_beside_a_bundle(tmp_path, capsys):
    pytest.importorskip("tensorflow", reason="needs TensorFlow, so Python 3.11 or 3.12")
    file = tmp_path / "peers.json"
    arguments = ["peers", "--standard", str(TINY_MODEL), "--only", "light-sernet"]
    arguments += ["--rounds", "1", "--seconds", "0.02", "--json", str(file)]
    assert command_line.main(arguments) == 0
    ours, nano, *rows = json.loads(file.read_text())["rows"]
    assert (ours["name"], nano["name"]) == ("standard", "nano")
    assert nano["bytes"] == len(bundle.read("nano").model)
    assert [(each["arithmetic"], each["features"]) for each in rows] == [
        ("float32", "librosa"),
        ("float32", "incremental"),
        ("dynamic-range", "librosa"),
        ("dynamic-range", "incremental"),
    ]
    # The authors' model: 159 M MACs, 463 k parameters of 4 bytes (of 1, quantized).
    assert all(each["macs"] == pytest.approx(159e6, rel=0.03) for each in rows)
    sizes = [each["bytes"] for each in rows[::2]]
    assert sizes == pytest.approx([1.85e6, 0.48e6], rel=0.05)
    assert ours["macs"] < rows[0]["macs"]
    # A whole window by librosa takes longer than the new frames, at any load.
    assert rows[0]["features_ms"] > 2 * rows[1]["features_ms"]
    assert rows[0]["peak_rss_mib"] > rows[1]["peak_rss_mib"] + 20
    out = capsys.readouterr().out
    assert "Weights of the peers are random" in out
    assert out.count("| light-sernet |") == 4


def test_librosas_features_are_those_of_the_spec():
    librosa = pytest.importorskip("librosa")
    del librosa
    import numpy as np

    from edge_ser.features import static_features
    from edge_ser.spec import FeatureSpec

    spec = FeatureSpec(log="db", log_floor=1e-10, n_mfcc=13, padding="center")
    samples = np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32)
    theirs, ours = peers._librosa(samples, spec), static_features(samples, spec)
    assert theirs.shape == ours.shape
    np.testing.assert_allclose(theirs, ours, atol=0.05)


def test_rows_of_the_zoo_give_their_accuracy_when_the_page_is_made(tmp_path):
    published = json.loads((report._RESULTS / "report.json").read_text())["peers"]
    for each in published["rows"]:
        each["ua"] = None
    file = tmp_path / "peers.json"
    file.write_text(json.dumps(published))
    assert command_line.main(["report", str(tmp_path)]) == 0
    ua = {each["name"]: each["ua"] for each in json.loads(file.read_text())["rows"]}
    row = report._RESULTS.parents[1] / "training/results/zoo/egemaps-svm-ravdess"
    figures = json.loads((row / "figures.json").read_text())[0]
    wanted = [figures["ua"], *figures["ua_95"]]
    assert ua["egemaps-svm"] == pytest.approx(wanted, abs=1e-4)
    assert f"| {100 * figures['ua']:.1f} [" in (tmp_path / "report.md").read_text()


def test_an_unknown_peer_is_refused():
    with pytest.raises(SystemExit, match="no peer 'sunshine'; valid: light-sernet"):
        command_line.main(["peers", "--only", "sunshine"])
