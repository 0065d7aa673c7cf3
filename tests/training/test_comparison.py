import csv
import dataclasses
import json
import re
import shutil

import pytest

pytest.importorskip("markdown", reason="the training tests need the extra 'train'")

from made_up import made_up_clip
from training import comparison, plots, report
from training.__main__ import main
from training.errors import RunError


@pytest.fixture
def folders(repository, tmp_path):
    """The published result, and one of the same clips with every answer right."""
    standard = repository / "training/results/standard"
    labels, rows = report.read_predictions(standard / "predictions.csv")
    perfect = tmp_path / "perfect"
    perfect.mkdir()
    right = [{**row, "predicted": row["label"]} for row in rows]
    report.write_predictions(perfect / "predictions.csv", right, labels)
    shutil.copy(standard / "config.json", perfect)
    return standard, perfect


def test_the_page_compares_and_needs_nothing_else(folders, tmp_path, capsys):
    with (folders[1] / "history.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["epoch", "loss", "accuracy", "validation_loss"])
        writer.writerows([[1, 2, 0.1, 2.0], [2, 1, 0.5, 1.0], [3, 0.5, 0.8, 1.5]])
    out = tmp_path / "page.html"
    assert main(["report", *map(str, folders), "--html", str(out)]) == 0
    page = out.read_text()
    assert not re.search(r"(src|href)=['\"](?!data:)", page)
    _, rows = report.read_predictions(folders[0] / "predictions.csv")
    ua = report.figures(list(report.by_variant(rows).values())[-1])["UA"].value
    assert f"{100 * ua:.1f} [" in page
    assert f"{100 - 100 * ua:+.1f} [" in page  # the paired gain of the perfect one
    for heading in ("By emotion", "By gender", "By language", "By corpus"):
        assert page.count(heading) == 2
    assert "validation loss rises from epoch 2 on" in page
    assert page.count("<img") == 2 * 3 + 6 + 1  # learning curves of the folds, and one
    assert "| int8 |" in capsys.readouterr().out


def test_groups_hold_all_clips(folders):
    _, rows = report.read_predictions(folders[0] / "predictions.csv")
    of_variant = report.by_variant(rows)["int8"]
    genders = comparison.groups(of_variant, "gender", {})
    assert [line[0] for line in genders] == ["female", "male"]
    assert sum(int(line[-1]) for line in genders) == 1439


def test_groups_of_own_recordings_are_as_their_table_told(tmp_path):
    told = [("1", "female", "de"), ("2", "male", "de"), ("3", "", "de")]
    clips = [
        dataclasses.replace(
            made_up_clip(0, "1", "sad", "mine", known_as=name), gender=g, language=lang
        )
        for name, g, lang in told
    ]
    report.write_clips(tmp_path, clips)
    rows = [
        {
            **{"corpus": "mine", "clip": clip.name, "speaker": clip.name},
            **{"label": "sad", "predicted": "sad"},
        }
        for clip in clips
    ]
    known = report.read_clips(tmp_path)
    genders = comparison.groups(rows, "gender", known)
    assert [line[0] for line in genders] == ["female", "male", "unknown"]
    assert [line[0] for line in comparison.groups(rows, "language", known)] == ["de"]
    (tmp_path / "clips.csv").write_bytes(b"a,b\n1,2\n")
    with pytest.raises(RunError, match="no table of clips"):
        report.read_clips(tmp_path)


def test_other_clips_are_not_paired(folders):
    labels, rows = report.read_predictions(folders[1] / "predictions.csv")
    fewer = [row for row in rows if row["fold"] == "1"]
    report.write_predictions(folders[1] / "predictions.csv", fewer, labels)
    assert "other clips" in comparison.comparison_markdown(folders)


def test_figures_that_say_less_than_they_seem_to(folders):
    labels, rows = report.read_predictions(folders[1] / "predictions.csv")
    one = [row for row in rows if row["speaker"] == "01"]
    report.write_predictions(folders[1] / "predictions.csv", one, labels)
    told = comparison.comparison_markdown(folders)
    assert "perfect: A single speaker" in told
    assert told.count("single speaker") == 1


def test_decline_is_marked_where_validation_fell():
    def history(*losses):
        return [
            {"epoch": n, "validation_loss": loss} for n, loss in enumerate(losses, 1)
        ]

    assert plots.decline(history(3.0, 1.0, 2.0), "validation_loss") == (2, 3)
    assert plots.decline(history(3.0, 2.0, 1.0), "validation_loss") is None
    assert plots.decline(history(3.0, 1.0, 1.01), "validation_loss") is None
    assert plots.decline(history(1.0, 2.0), "validation_loss") is None


def test_a_folder_with_nothing_to_show(tmp_path):
    with pytest.raises(RunError, match="neither predictions"):
        comparison.write([tmp_path], tmp_path / "page.html")
    (tmp_path / "history.csv").write_text("epoch,loss\n1,x\n")
    with pytest.raises(RunError, match="no learning history"):
        comparison.write([tmp_path], tmp_path / "page.html")
    (tmp_path / "predictions.csv").write_text(json.dumps({}))
    with pytest.raises(RunError):
        comparison.write([tmp_path], tmp_path / "page.html")


def test_folders_of_one_name_are_told_apart(tmp_path):
    folders = [tmp_path / "a" / "run", tmp_path / "b" / "run"]
    assert list(comparison.names_of(folders[:1]).values()) == ["run"]
    assert list(comparison.names_of(folders).values()) == list(map(str, folders))
