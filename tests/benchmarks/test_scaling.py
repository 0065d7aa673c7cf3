import json
import shutil

import pytest

from benchmarks import __main__ as command_line
from benchmarks import instructions, scaling
from edge_ser import bundle
from tiny_model import TINY_MODEL


def test_decisions_follow_from_audio_streams_and_hop():
    for hop_s, streams, expected in ((0.5, 1, 20), (0.25, 3, 120), (0.1, 2, 200)):
        plan = {"hop_s": hop_s, "streams": streams, "seconds": 10}
        row = scaling.measure(plan, str(TINY_MODEL))
        assert row["decisions"] == expected
        assert row["ms_a_second_of_audio"] > 0


def test_an_hour_takes_no_more_memory_than_a_minute():
    row = scaling.measure(
        {"hop_s": 0.5, "streams": 1, "seconds": 3600}, str(TINY_MODEL)
    )
    assert row["grown_mib"] < 1


def test_the_report(tmp_path, capsys):
    file = tmp_path / "scaling.json"
    arguments = ["scaling", "--model", str(TINY_MODEL), "--windows", "1"]
    arguments += ["--seconds", "1"]
    assert command_line.main([*arguments, "--longest", "10", "--json", str(file)]) == 0
    report = json.loads(file.read_text())
    assert [row["streams"] for row in report["streams"]] == list(scaling.STREAMS)
    assert [row["seconds"] for row in report["hours"]] == [1.0, 10.0]
    hops = [row["hop_s"] for row in report["windows"]]
    assert hops == sorted(hops)
    assert len(hops) >= 3
    out = capsys.readouterr().out
    assert out.count("| ms a second of audio |") == 2
    assert "| a decision every |" in out


def test_the_listener_asks_the_model_as_often_as_it_shall():
    windows = [
        scaling.measure({"hop_s": 0.5, "listener": 1, "seconds": s}, str(TINY_MODEL))
        for s in (5, 10)
    ]
    # Talk with hardly a pause: about two decisions a second, none without.
    assert 0 < windows[0]["decisions"] < windows[1]["decisions"] <= 21


@pytest.mark.long
def test_other_windows_are_measured_with_networks_of_their_length(tmp_path):
    pytest.importorskip("tensorflow", reason="needs TensorFlow, so Python 3.11 or 3.12")
    file = tmp_path / "scaling.json"
    arguments = ["scaling", "--seconds", "5", "--longest", "1", "--windows", "0.5", "2"]
    assert command_line.main([*arguments, "--json", str(file)]) == 0
    rows = json.loads(file.read_text())["windows"]
    short, long = sorted({row["window_s"] for row in rows})
    assert long == pytest.approx(4 * short, rel=0.02)
    assert all(row["decisions"] > 0 for row in rows if row["hop_s"] == 0.1)


@pytest.mark.long
def test_a_longer_window_costs_more(tmp_path):
    """Told by instructions: times of a few seconds of audio are noise."""
    pytest.importorskip("tensorflow", reason="needs TensorFlow, so Python 3.11 or 3.12")
    if not shutil.which("valgrind"):
        pytest.skip("counts with callgrind: apt install valgrind")
    short, long = (
        _instructions(tmp_path / f"{times}.tflite", times) for times in (1, 4)
    )
    assert short.keys() == long.keys()
    assert ("inference", "ai-edge-litert") in short
    for part in short:
        most = 1.1 if part[0] == "streaming features" else 6
        least = 0.9 if part[0] == "streaming features" else 2
        assert least < long[part] / short[part] < most, part


def _instructions(path, times):
    card = bundle.read(None).card
    bundle.write(path, *scaling.other_window(card, times / 2, scaling.CONFIG))
    return {
        (row["part"], row["package"]): row["instructions"]
        for row in instructions.counts(str(path))
    }


def test_a_hop_beyond_the_window_is_refused():
    with pytest.raises(Exception, match="hop_s is 99"):
        scaling.measure({"hop_s": 99, "streams": 1, "seconds": 1}, str(TINY_MODEL))
