import dataclasses
import json

import pytest

from benchmarks import __main__ as command_line
from benchmarks import quantization
from edge_ser import bundle
from edge_ser.interpreter import installed_runtimes
from training.report import RESULTS

FOLD_1 = RESULTS / "standard" / "fold-1.tflite"


@pytest.fixture(scope="module")
def twin(tmp_path_factory):
    """The same fold under another variant's name."""
    folder = tmp_path_factory.mktemp("fold-1")
    original = bundle.read(FOLD_1)
    card = dataclasses.replace(original.card, quantization="int8-twin")
    path = folder / "fold-1.tflite"
    bundle.write(path, card, original.model)
    return path


def test_variants_side_by_side(twin, corpora_folder, tmp_path, capsys):
    file = tmp_path / "report.json"
    arguments = ["quantization", str(FOLD_1), str(twin), "--data", str(corpora_folder)]
    arguments += ["--clips", "24", "--seconds", "0.05", "--json", str(file)]
    assert command_line.main(arguments) == 0
    report = json.loads(file.read_text())
    assert report["clips"] == 24
    one, two = report["variants"]["int8-pruned"], report["variants"]["int8-twin"]
    assert one["recall"] == two["recall"]
    assert two["agreement"] == 1
    assert two["ua_change"] == [0, 0, 0]
    assert two["recall_change"] == [[0, 0, 0]] * 8
    assert two["largest_probability_difference"] == 0
    assert 0 < one["calibration_error"] < 0.5
    # Half of the weights are zeros, so it packs well.
    assert one["compressed_bytes"] < 0.75 * one["model_bytes"]
    assert one["bench"]["timings"]["inference"]["p50_ms"] > 0
    runtimes = [
        f"{name} {version}"
        for name, version in installed_runtimes().items()
        if name != "tensorflow"
    ]
    assert list(two["inference_ms"]) == runtimes
    assert all(ms > 0 for ms in two["inference_ms"].values())
    out = capsys.readouterr().out
    assert f"| variant | {' | '.join(sorted(runtimes))} |" in out
    assert "| int8-twin |" in out
    assert "| neutral |" in out


def test_an_interpreter_that_refuses_a_variant_is_told():
    refused = {"ai-edge-litert 2": 0.1234, "tflite-runtime 2": None}
    lines = quantization._interpreters({"dynamic-range": {"inference_ms": refused}})
    assert lines[-1] == "| dynamic-range | 0.123 | refused |"
    assert quantization._interpreters({"int8": {}}) == []


def test_variants_of_other_folds_are_refused(twin, corpora_folder, capsys):
    fold_2 = FOLD_1.with_name("fold-2.tflite")
    arguments = ["quantization", str(twin), str(fold_2), "--data", str(corpora_folder)]
    assert command_line.main(arguments) == 1
    assert "the same folds of every variant" in capsys.readouterr().err
