"""What a bundle holds, told of any and of those that ship."""

from __future__ import annotations

import json
import shutil

import pytest

pytest.importorskip("ai_edge_litert", reason="its schema reads flatbuffers")

from conversion.__main__ import main
from edge_ser import bundle
from tiny_model import TINY_MODEL


def test_a_model_that_ships_is_known_by_its_name(tmp_path, monkeypatch, capsys):
    shutil.copy(TINY_MODEL, tmp_path / "nano")
    monkeypatch.chdir(tmp_path)
    found = {}
    for name in ("nano", "./nano"):
        assert main(["inspect", name, "--json"]) == 0
        found[name] = json.loads(capsys.readouterr().out)
    assert found["nano"]["card"]["name"] == "edge-ser-nano"
    assert found["nano"]["sha256"] == bundle.read("nano").sha256
    assert found["./nano"]["card"]["name"] == "tiny"
