import csv
import pathlib

import pytest

from training.corpora import ADAPTERS, find_clips
from training.errors import CorpusError

COLUMNS = ("speaker", "gender", "emotion", "language")
# The manifests number RAVDESS's and nEMO's sentences otherwise than the file names.
EXPECTED_CLIPS = {"ravdess": 1440, "emodb": 362, "emovo": 588, "nemo": 1057}


def touch(folder: pathlib.Path, *names: str) -> pathlib.Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


@pytest.mark.parametrize("corpus", sorted(ADAPTERS))
def test_names_give_what_the_manifest_says(corpus, corpora_folder):
    clips = {clip.name: clip for clip in find_clips(corpora_folder, [corpus])}
    assert len(clips) == EXPECTED_CLIPS[corpus]
    with (corpora_folder / corpus / "manifest.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(clips)
    for row in rows:
        clip = clips[pathlib.Path(row["path"]).stem]
        for column in COLUMNS:
            assert getattr(clip, column) == row[column], (clip.name, column)
        if row["intensity"]:
            assert clip.intensity == row["intensity"]


def test_sentences_tell_texts_apart(corpora_folder):
    with (corpora_folder / "ravdess" / "manifest.csv").open(newline="") as file:
        texts = {
            pathlib.Path(r["path"]).stem: r["sentence"] for r in csv.DictReader(file)
        }
    clips = find_clips(corpora_folder, ["ravdess"])
    assert len({(clip.sentence, texts[clip.name]) for clip in clips}) == 2


def test_layout_and_suffix_do_not_matter(tmp_path):
    touch(
        tmp_path,
        "Actor_01/03-01-01-01-01-01-01.wav",
        "deep/er/03-01-05-02-02-01-02.FLAC",
        "03-02-01-01-01-01-01.wav",  # song
        "notes.txt",
        "other.wav",
    )
    first, second = find_clips(tmp_path, ["ravdess"])
    assert (first.emotion, first.gender, first.speaker) == ("neutral", "male", "01")
    assert (second.emotion, second.gender, second.intensity) == (
        "angry",
        "female",
        "strong",
    )
    assert first.speaker_key == "ravdess/01"


@pytest.mark.parametrize(
    ("names", "corpora", "message"),
    [
        (["other.wav"], ["emodb"], "no clip of emodb"),
        (["03a01Xa.wav"], ["emodb"], "no label 'X'"),
        (["03a01Fa.wav"], ["iemocap"], "unknown corpus 'iemocap'"),
        (["a/03a01Fa.wav", "b/03a01Fa.flac"], ["emodb"], "two places"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, names, corpora, message):
    touch(tmp_path, *names)
    with pytest.raises(CorpusError, match=message):
        find_clips(tmp_path, corpora)


def test_missing_folder(tmp_path):
    with pytest.raises(CorpusError, match="no data folder"):
        find_clips(tmp_path / "none", ["emodb"])
