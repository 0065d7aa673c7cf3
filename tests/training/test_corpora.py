import collections
import csv
import json
import pathlib

import pytest

from training import protocol
from training.corpora import cremad, find_clips
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


@pytest.mark.parametrize("corpus", sorted(EXPECTED_CLIPS))
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


def test_tess_as_published(tmp_path):
    # 200 words, seven emotions, two actresses; one file lacks a letter.
    words = [f"w{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(199)] + ["bite"]
    for actress, folder in (("OAF", "OAF"), ("YAF", "YAF")):
        for emotion in ("angry", "disgust", "fear", "happy", "neutral", "ps", "sad"):
            names = [f"{actress}_{word}_{emotion}.wav" for word in words]
            if (actress, emotion) == ("OAF", "neutral"):
                names[-1] = "OA_bite_neutral.wav"
            touch(tmp_path / f"{folder}_{emotion}", *names)
    clips = find_clips(tmp_path, ["tess"])
    assert len(clips) == 2800
    counts = collections.Counter((clip.speaker, clip.emotion) for clip in clips)
    assert set(counts.values()) == {200}
    assert {clip.emotion for clip in clips} == {
        "angry",
        "disgust",
        "fear",
        "happy",
        "neutral",
        "surprise",
        "sad",
    }
    assert {clip.gender for clip in clips} == {"female"}
    with pytest.raises(CorpusError, match="no label 'bored'"):
        find_clips(touch(tmp_path, "YAF_back_bored.wav"), ["tess"])


@pytest.mark.parametrize("layout", ["{}/{}.wav", "ALL/{}_{}.wav"])
def test_savee_in_both_layouts(tmp_path, layout):
    counts = {"a": 15, "d": 15, "f": 15, "h": 15, "n": 30, "sa": 15, "su": 15}
    for speaker in ("DC", "JE", "JK", "KL"):
        for code, count in counts.items():
            names = [
                layout.format(speaker, f"{code}{n:02d}") for n in range(1, count + 1)
            ]
            touch(tmp_path, *names)
    clips = find_clips(tmp_path, ["savee"])
    assert len(clips) == len({clip.name for clip in clips}) == 480
    first = clips[0]
    assert (first.name, first.speaker, first.emotion) == ("DC_a01", "DC", "angry")
    by_emotion = collections.Counter(clip.emotion for clip in clips)
    assert by_emotion == {
        "neutral": 120,
        **dict.fromkeys(("angry", "disgust", "fear", "happy", "sad", "surprise"), 60),
    }
    folds = json.loads(
        (pathlib.Path(protocol.__file__).parent / "folds.json").read_text()
    )
    named = {s for fold in folds["savee"]["test_speakers"].values() for s in fold}
    assert named == {clip.speaker for clip in clips}
    with pytest.raises(CorpusError, match="no label 'x'"):
        find_clips(touch(tmp_path, layout.format("DC", "x01")), ["savee"])


def test_cremad_as_published(tmp_path):
    touch(
        tmp_path / "AudioWAV",
        "1001_DFA_ANG_XX.wav",
        "1002_IEO_HAP_HI.wav",
        "1040_ITH_SAD_X.wav",
        "1091_WSI_NEU_XX.wav",
    )
    told = [
        (c.speaker, c.gender, c.emotion, c.intensity, c.sentence)
        for c in find_clips(tmp_path, ["cremad"])
    ]
    assert told == [
        ("1001", "male", "angry", "", "DFA"),
        ("1002", "female", "happy", "high", "IEO"),
        ("1040", "male", "sad", "", "ITH"),
        ("1091", "female", "neutral", "", "WSI"),
    ]
    assert len(cremad.WOMEN) == 43  # of 91, as published
    with pytest.raises(CorpusError, match="no label 'BOR'"):
        find_clips(touch(tmp_path, "1001_DFA_BOR_XX.wav"), ["cremad"])


def test_folders_of_ones_own(tmp_path):
    touch(
        tmp_path / "mine",
        "Anger/ann/1.wav",
        "happy/ann/1.flac",
        "yelling/bob/2.ogg",
        "readme.txt",
    )
    own_words = {"yelling": "angry"}
    clips = find_clips(tmp_path, ["folders:mine"], own_words)
    assert [(c.corpus, c.name, c.speaker, c.emotion) for c in clips] == [
        ("mine", "Anger/ann/1", "ann", "angry"),
        ("mine", "happy/ann/1", "ann", "happy"),
        ("mine", "yelling/bob/2", "bob", "angry"),
    ]
    assert all(clip.speaker_known for clip in clips)
    with pytest.raises(CorpusError, match=r"no word for the label 'yelling'.*--label"):
        find_clips(tmp_path, ["folders:mine"])
    touch(tmp_path / "plain", "sad/1.wav", "happy/2.wav", "happy/._2.wav")
    unknown = find_clips(tmp_path / "plain", ["folders"])
    assert not any(clip.speaker_known for clip in unknown)
    assert len({clip.speaker_key for clip in unknown}) == 2
    for bad, message in (("3.wav", "valid layouts"), ("a/b/c/4.wav", "valid layouts")):
        folder = touch(tmp_path / f"bad-{bad[0]}", bad)
        with pytest.raises(CorpusError, match=message):
            find_clips(folder, ["folders"])
    with pytest.raises(CorpusError, match="is not there"):
        find_clips(tmp_path, ["folders:none"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(CorpusError, match="no clip in"):
        find_clips(tmp_path, ["folders:empty"])


def test_two_corpora_of_one_name_would_be_one(tmp_path):
    for folder in ("home/emodb", "office/emodb"):
        clip = tmp_path / folder / "anna/happy/1.wav"
        clip.parent.mkdir(parents=True)
        clip.touch()
    for other in ("folders:office/emodb", "emodb"):
        with pytest.raises(CorpusError, match="two corpora of one name: emodb, emodb"):
            find_clips(tmp_path, ["folders:home/emodb", other])


def test_a_table_of_ones_own(tmp_path):
    touch(tmp_path, "audio/1.wav", "audio/2.wav")
    table = tmp_path / "mine.csv"
    table.write_text(
        "path,label,speaker,gender\naudio/1.wav,joy,ann,female\naudio/2.wav,sad,,\n"
    )
    first, second = find_clips(tmp_path, ["table:mine.csv"])
    assert (first.corpus, first.emotion, first.speaker) == ("mine", "happy", "ann")
    assert (first.gender, first.speaker_known) == ("female", True)
    assert not second.speaker_known


def test_a_table_may_name_files_anywhere(tmp_path):
    touch(tmp_path, "audio/1.wav", "audio/2.wav")
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables/mine.csv").write_text(
        f"path,label\n../audio/1.wav,sad\n{tmp_path / 'audio/2.wav'},joy\n"
    )
    clips = find_clips(tmp_path, ["table:tables/mine.csv"])
    assert [clip.name for clip in clips] == ["../audio/1", "../audio/2"]
    assert all(clip.path.exists() for clip in clips)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,label\na,b\n", "columns are file, label; valid: path"),
        ("", "columns are missing"),
        ("path,label\n1.wav,\n", "line 2 lacks"),
        ("path,label\nnone.wav,sad\n", "line 2: no file"),
        ("path,label\n1.wav,sad\n1.wav,sad\n", "is there twice"),
        ("path,label\n", "no clip in"),
    ],
)
def test_tables_that_do_not_fit(tmp_path, text, message):
    touch(tmp_path, "1.wav")
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(CorpusError, match=message):
        find_clips(tmp_path, ["table:t.csv"])
    (tmp_path / "t.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CorpusError, match=r"t\.csv"):
        find_clips(tmp_path, ["table:t.csv"])


# The names of speakers are numbers in some databases.
@pytest.mark.parametrize("speakers", [("a", "b"), (3, 8)])
def test_an_audformat_database(tmp_path, speakers):
    audformat = pytest.importorskip("audformat", reason="pip install audformat")
    touch(tmp_path, "audio/1.wav", "audio/2.wav", "audio/3.wav")
    database = audformat.Database("mine")
    database.schemes["emotion"] = audformat.Scheme(labels=["anger", "happiness"])
    told = zip(speakers, ({"gender": "female"}, {"gender": "male"}), strict=True)
    database.schemes["speaker"] = audformat.Scheme(labels=dict(told))
    index = audformat.filewise_index([f"audio/{n}.wav" for n in (1, 2, 3)])
    database["emotion"] = audformat.Table(index)
    database["emotion"]["emotion"] = audformat.Column(scheme_id="emotion")
    database["emotion"]["emotion"].set(["anger", "happiness", None])
    database["files"] = audformat.Table(index[:2])
    database["files"]["speaker"] = audformat.Column(scheme_id="speaker")
    database["files"]["speaker"].set(list(speakers))
    pauses = audformat.segmented_index(["audio/1.wav"], [0], [0.1])
    database["pauses"] = audformat.Table(pauses)
    database.save(str(tmp_path))
    clips = find_clips(tmp_path, ["audformat"])
    assert [(c.name, c.emotion, c.speaker, c.gender) for c in clips] == [
        ("audio/1", "angry", str(speakers[0]), "female"),
        ("audio/2", "happy", str(speakers[1]), "male"),
    ]
    database["pauses"]["emotion"] = audformat.Column(scheme_id="emotion")
    database.save(str(tmp_path))
    with pytest.raises(CorpusError, match="table pauses is of segments"):
        find_clips(tmp_path, ["audformat"])
    for file in tmp_path.glob("db.emotion.*"):
        file.unlink()
    with pytest.raises(CorpusError, match="not readable as audformat: No file"):
        find_clips(tmp_path, ["audformat"])
    (tmp_path / "db.yaml").write_text("name: [\n")
    with pytest.raises(CorpusError, match="not readable as audformat: while"):
        find_clips(tmp_path, ["audformat"])
    (tmp_path / "db.yaml").unlink()
    with pytest.raises(CorpusError, match="no audformat database"):
        find_clips(tmp_path, ["audformat"])
