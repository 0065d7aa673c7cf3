"""`edge-ser model`, and who then uses what it installed."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import time

import pytest

from broken_model import tiny, with_output_scale
from edge_ser import bundle
from edge_ser.cli import model as verb
from tiny_model import TINY_MODEL


@pytest.fixture
def folder(run, tmp_path, monkeypatch):
    """Where models are installed; `run` has taken our variables away before."""
    folder = tmp_path / "models"
    monkeypatch.setenv("EDGE_SER_MODEL_FOLDER", str(folder))
    return folder


@pytest.fixture
def two(tmp_path):
    path = tmp_path / "two.tflite"
    path.write_bytes(tiny(version="2"))
    return path


def test_install_list_and_roll_back(run, folder, two):
    first = run("model", "install", TINY_MODEL)
    assert (first.code, first.err) == (0, "")
    assert first.out == (
        "tiny 1 works and is in use now (signature not asked for: no public key is "
        "set)\n"
    )
    assert run("model", "install", two).code == 0
    listed = [
        json.loads(line) for line in run("model", "list", "--json").out.split("\n")[:-1]
    ]
    assert [(each["role"], each["version"], each["in_use"]) for each in listed] == [
        ("current", "2", True),
        ("former", "1", False),
        ("bundled", bundle.read().card.version, False),
        ("nano", bundle.read("nano").card.version, False),
        ("open", bundle.read("open").card.version, False),
        ("mfcc", bundle.read("mfcc").card.version, False),
    ]
    assert "the former tiny 1 is in use now" in run("model", "rollback").out
    assert run("model", "list").out.splitlines()[0].startswith("* current   tiny 1")
    assert "the bundled" in run("model", "rollback", "--bundled").out
    assert "\n* bundled" in run("model", "list").out


def test_what_ships_is_installed_by_its_name(run, folder):
    assert "edge-ser-nano" in run("model", "install", "nano").out
    current = run("model", "list").out.splitlines()[0]
    assert current.startswith("* current   edge-ser-nano")
    assert json.loads(run("info", "--json").out)["name"] == "edge-ser-nano"
    names = json.loads(run("info", "standard", "--json").out)["name"]
    assert names == "edge-ser-standard"


def test_again_says_so(run, folder):
    run("model", "install", TINY_MODEL)
    assert (
        "tiny 1 works and was in use already" in run("model", "install", TINY_MODEL).out
    )


def test_every_command_takes_the_installed_model(run, folder, low_voice, two):
    bundled = bundle.read().card.name

    def used():
        heard = run("listen", "--file", low_voice, "--json")
        event = json.loads(heard.out.splitlines()[0])
        shown = json.loads(run("info", "--json").out)
        checks = run("doctor", "--no-microphone", "--json").out.splitlines()
        (found,) = [
            each["found"] for each in map(json.loads, checks) if each["name"] == "model"
        ]
        answer = json.loads(run("classify", "--json", low_voice).out)
        return (
            event["model"].split()[0],
            shown["name"],
            found.split()[0],
            "tiny" if "low" in answer["probabilities"] else bundled,
        )

    assert set(used()) == {bundled}
    run("model", "install", TINY_MODEL)
    assert set(used()) == {"tiny"}
    run("model", "rollback")
    assert set(used()) == {bundled}


def test_settings_come_before_it_and_variables_before_them(
    run, folder, low_voice, tmp_path, monkeypatch, two
):
    run("model", "install", TINY_MODEL)
    three = tmp_path / "three.tflite"
    three.write_bytes(tiny(version="3"))
    settings = tmp_path / "config.toml"
    settings.write_text(f'model = "{two}"\n')

    def version(*options):
        heard = run(
            *("listen", "--file", low_voice, "--json", "--config", settings), *options
        )
        return json.loads(heard.out.splitlines()[0])["model"]

    assert version() == "tiny 2"
    hidden = run("model", "install", TINY_MODEL, "--config", settings)
    assert f"the settings name the model {two}, which comes before" in hidden.out
    assert run("model", "list", "--config", settings).out.startswith(
        "* settings  tiny 2"
    )
    monkeypatch.setenv("EDGE_SER_MODEL", str(three))
    assert version() == "tiny 3"
    assert json.loads(run("info", "--json").out)["version"] == "3"
    assert version("--model", TINY_MODEL) == "tiny 1"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"not a model", "not a TFLite model"),
        (TINY_MODEL.read_bytes()[:-1], "no card found"),
        (tiny(labels=("a", "b", "c", "d")), "3 outputs"),
        (with_output_scale(1e-4), "answers the same"),
    ],
)
def test_a_bad_model_changes_nothing(run, folder, tmp_path, data, words):
    run("model", "install", TINY_MODEL)
    before = sorted(folder.iterdir())
    path = tmp_path / "bad.tflite"
    path.write_bytes(data)
    refused = run("model", "install", path)
    refused.check_error(3, str(path), words)
    assert str(folder) not in refused.err
    assert sorted(folder.iterdir()) == before
    run("model", "check", path).check_error(3, words)


def test_a_model_that_crashes_the_interpreter(run, folder, tmp_path):
    run("model", "install", TINY_MODEL)
    path = tmp_path / "bad.tflite"
    # A multiplier so large is a failed assertion inside TFLite.
    path.write_bytes(with_output_scale(1e-9))
    refused = run("model", "install", path)
    refused.check_error(3, f"{path}: refused: it crashes the interpreter (SIGABRT)")
    assert run("model", "list").out.startswith("* current   tiny 1")


def test_no_code_is_taken_from_the_present_folder(run, folder, tmp_path, monkeypatch):
    """Root may be in a folder where others write."""
    (tmp_path / "json.py").write_text("raise SystemExit('taken')")
    monkeypatch.chdir(tmp_path)
    done = run("model", "install", TINY_MODEL)
    assert (done.code, done.err) == (0, "")


def test_one_that_never_ends_is_refused(run, folder, monkeypatch):
    monkeypatch.setattr(verb, "_PATIENCE_S", 0.01)
    run("model", "install", TINY_MODEL).check_error(3, "did not end")


def test_wrong_usage(run, folder, tmp_path):
    run("model").check_error(2, "ACTION")
    run("model", "instal", "x").check_error(2, "instal")
    run("model", "install").check_error(2, "FILE")
    run("model", "install", "/no/such").check_error(3, "/no/such")
    run("model", "rollback").check_error(3, "no model was installed")
    assert not folder.exists()


def test_a_signature_is_asked_for_where_a_key_is_set(run, folder, tmp_path):
    pytest.importorskip("cryptography", reason="needs the extra sign")
    from conversion import sign
    from conversion.__main__ import main

    for name in ("ours", "other"):
        sign.generate(tmp_path / name)
    signed = tmp_path / "signed.tflite"
    signed.write_bytes(TINY_MODEL.read_bytes())
    assert main(["sign", str(signed), "--key", str(tmp_path / "ours.key")]) == 0
    ours, other = ("--public-key", tmp_path / "ours.pub"), tmp_path / "other.pub"

    run("model", "install", TINY_MODEL, *ours).check_error(3, "not signed")
    run("model", "install", signed, "--public-key", other).check_error(3, "not trusted")
    spoilt = tmp_path / "spoilt.tflite"
    data = bytearray(signed.read_bytes())
    data[100] ^= 1
    spoilt.write_bytes(data)
    run("model", "install", spoilt, *ours).check_error(3, "altered")
    assert not folder.exists()

    done = run("model", "install", signed, *ours)
    assert (done.code, done.out) == (0, "tiny 1 works and is in use now\n")
    # The listener would refuse the bundled one, which this key has not signed.
    run("model", "rollback", *ours).check_error(3, "not signed")
    assert run("model", "list").out.startswith("* current   tiny 1")


def test_killed_during_the_self_test(folder, two, run):
    run("model", "install", TINY_MODEL)
    command = [sys.executable, "-m", "edge_ser", "model", "install", str(two)]
    process = subprocess.Popen(command, env=os.environ)
    limit_s = time.monotonic() + 30
    while not list(folder.glob(".new-*")):
        assert process.poll() is None
        assert time.monotonic() < limit_s
        time.sleep(0.005)
    process.kill()
    process.wait()
    assert run("model", "list").out.startswith("* current   tiny 1")
    assert run("model", "install", two).code == 0
    assert run("model", "list").out.startswith("* current   tiny 2")
    assert not list(folder.glob(".new-*"))


def test_two_installs_at_once(folder, two, run, tmp_path):
    run("model", "install", TINY_MODEL)
    three = tmp_path / "three.tflite"
    three.write_bytes(tiny(version="3"))
    command = [sys.executable, "-m", "edge_ser", "model", "install"]
    both = [
        subprocess.Popen([*command, path], stdout=subprocess.PIPE, text=True)
        for path in (two, three)
    ]
    for process in both:
        out, _ = process.communicate(timeout=60)
        assert (process.returncode, "is in use now" in out) == (0, True)
    listed = run("model", "list").out.splitlines()
    assert {line.split()[-4] for line in listed[:2]} >= {"tiny"}
    versions = sorted(bundle.read(line.split()[-1]).card.version for line in listed[:2])
    assert versions == ["2", "3"]


def test_info_tells_figures_as_the_card_has_them(run, tmp_path):
    card = bundle.read("open").card
    shown = " ".join(run("info", "open").out.split())  # however wide the terminal
    row = card.measured[-1]
    low, high = row["ua_95"]
    assert f"int8-pruned: UA {row['ua']:g} [{low:g}, {high:g}], WA " in shown
    # Others' cards may say anything.
    own = dataclasses.replace(card, measured=({"where": "at home", "ua": "good"},))
    bundle.write(tmp_path / "own.tflite", own, bundle.read("open").model)
    assert "ua good, where at home" in run("info", str(tmp_path / "own.tflite")).out
