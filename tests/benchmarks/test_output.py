import pathlib
import sys

from benchmarks import output


def test_a_command_can_be_typed_elsewhere(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    bundle = tmp_path / "runs" / "fold-1.tflite"
    arguments = ["robustness", str(bundle), "--data", "/corpora", "--json", "a b.json"]
    monkeypatch.setattr(sys, "argv", ["benchmarks", *arguments, "--only", "a b"])
    told = output.command(pathlib.Path("/corpora"))
    expected = "robustness runs/fold-1.tflite --data DIR --only 'a b'"
    assert told == f"python -m benchmarks {expected}"
    arguments = [f"--data={tmp_path}", f"--model={bundle}", "--json=a.json"]
    monkeypatch.setattr(sys, "argv", ["benchmarks", "robustness", *arguments])
    told = output.command(tmp_path)
    expected = "robustness --data DIR --model runs/fold-1.tflite"
    assert told == f"python -m benchmarks {expected}"
