import json
import pathlib

import pytest

from benchmarks import __main__ as command_line
from benchmarks import estimate
from edge_ser import bundle

ROOT = pathlib.Path(__file__).parents[2]


def test_the_layers_add_up():
    report = estimate.estimate(bundle.read(None).model)
    assert report["macs"] == sum(layer["macs"] for layer in report["layers"])
    convolutions = [each for each in report["layers"] if each["name"] == "CONV_2D"]
    assert sum(each["macs"] for each in convolutions) > 0.99 * report["macs"]
    for board in report["boards"]:
        # At least each of the two walls, at most both one after the other.
        assert board["least_ms"] >= max(board["compute_ms"], board["memory_ms"]) - 1e-9
        assert board["least_ms"] <= board["compute_ms"] + board["memory_ms"] + 1e-9


def test_a_faster_core_takes_less():
    boards = estimate.estimate(bundle.read(None).model)["boards"]
    by_name = {board["name"]: board["least_ms"] for board in boards}
    zero, three = by_name["Raspberry Pi Zero 2 W"], by_name["Raspberry Pi 3B+"]
    assert zero == pytest.approx(1.4 * three, rel=0.05)  # the same core, another clock
    assert by_name["Raspberry Pi 5"] < by_name["Raspberry Pi 4"] < zero


def test_an_accelerator_on_usb_gets_the_window_alone():
    read = bundle.read(ROOT / "training/results/coral/fold-1.tflite")
    boards = estimate.estimate(read.model)["boards"]
    (coral,) = (board for board in boards if "Coral" in board["name"])
    (usb,) = (b.memory_gb_s for b in estimate.BOARDS if b.name == coral["name"])
    spec = read.card.features
    window_bytes = spec.frames_per_window * spec.n_features  # int8
    assert coral["memory_ms"] == pytest.approx(window_bytes / usb / 1e6)


def test_no_accelerator_is_told_for_what_it_does_not_run():
    report = estimate.estimate(bundle.read(None).model)
    assert not any("Coral" in board["name"] for board in report["boards"])
    text = estimate.markdown({**report, "model": "it", "hop_s": 0.5})
    assert "An Edge TPU would run 7 of its 40 operators" in text


def test_it_says_that_it_is_an_estimate(tmp_path, capsys):
    file = tmp_path / "estimate.json"
    assert command_line.main(["estimate", "--layers", "--json", str(file)]) == 0
    out = capsys.readouterr().out
    assert "Estimates: no board was here." in out
    assert "| CONV_2D |" in out
    assert json.loads(file.read_text())["boards"]
