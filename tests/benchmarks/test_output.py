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
