import dataclasses
import json

import pytest

from benchmarks import __main__ as command_line
from benchmarks import places
from edge_ser import bundle
from training.report import RESULTS

FOLD_1 = RESULTS / "standard" / "fold-1.tflite"


def test_a_telephone_is_got_used_to_and_the_studio_left_alone(
    corpora_folder, tmp_path, capsys
):
    file = tmp_path / "report.json"
    arguments = ["places", str(FOLD_1), "--data", str(corpora_folder)]
    arguments += ["--only", "studio", "telephone", "--json", str(file)]
    assert command_line.main(arguments) == 0
    report = json.loads(file.read_text())
    assert report["clips"] == 240
    assert list(report["groups"]) == ["studio", "telephone band"]
    studio, telephone = report["groups"].values()
    alone = studio[places.ALONE]["ua"][0]
    assert alone > 0.45  # of 8 classes
    for mode in (places.PERSON, places.HOUSEHOLD):
        assert abs(studio[mode]["ua"][0] - alone) < 0.02
        assert telephone[mode]["gain"][0] > 0.03
        gained = telephone[mode]["ua"][0] - telephone[places.ALONE]["ua"][0]
        assert telephone[mode]["gain"][0] == pytest.approx(gained)
    assert "| telephone band |" in capsys.readouterr().out


def test_rooms_are_those_that_no_training_heard(corpora_folder):
    found = places.places(corpora_folder)
    rooms = [name for name, (group, _) in found.items() if group == "rooms"]
    assert len(rooms) == 4
    split = (corpora_folder / "rir/split.csv").read_text()
    for name in rooms:
        assert f"{name}.flac,test" in split


def test_what_cannot_be_measured_is_named(corpora_folder, tmp_path, capsys):
    arguments = ["places", str(FOLD_1), "--data", str(corpora_folder)]
    assert command_line.main([*arguments, "--only", "beach"]) != 0
    assert "no place is named beach" in capsys.readouterr().err
    read = bundle.read(FOLD_1)
    file = tmp_path / "fold-1.tflite"
    bundle.write(file, dataclasses.replace(read.card, speakers={}), read.model)
    arguments = ["places", str(file), "--data", str(corpora_folder)]
    assert command_line.main([*arguments, "--only", "studio", "--clips", "4"]) != 0
    assert "tells nothing of its speakers" in capsys.readouterr().err
