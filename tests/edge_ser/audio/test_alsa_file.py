"""A recording through PyAudio and ALSA's file plugin: real capture, no hardware."""

import json
import pathlib
import subprocess
import sys

import pytest

pytest.importorskip("pyaudio", reason="PyAudio is not installed: pip install .[mic]")


@pytest.fixture
def alsa_microphone(tmp_path, recording):
    """Environment in which the only microphone plays `recording`, then silence."""
    raw = tmp_path / "sound.raw"
    raw.write_bytes(recording.read_bytes()[44:])
    config = tmp_path / "asound.conf"
    config.write_text(
        f"""
        pcm_type.file {{ }}
        pcm.!default {{
            type file
            slave.pcm {{ type null }}
            file "/dev/null"
            infile "{raw}"
            format "raw"
            hint {{ show on description "fake microphone" }}
        }}
        ctl.!default {{ type hw card 0 }}
        """
    )
    return {"ALSA_CONFIG_PATH": str(config)}


def test_devices(alsa_microphone, run_process):
    done = run_process("devices", "--json", env=alsa_microphone)
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    assert json.loads(line)["name"] == "default"
    assert done.stderr == b""


def test_listens(alsa_microphone, model):
    import os

    process = subprocess.Popen(
        [sys.executable, "-m", "edge_ser", "listen", "--model", model, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | alsa_microphone | {"EDGE_SER_GATE_SPEECH": "0"},
        cwd=pathlib.Path(__file__).parents[3],
    )
    labels = [json.loads(process.stdout.readline())["label"] for _ in range(4)]
    process.terminate()
    assert labels == ["low", "idle", "high", "idle"]
    _, errors = process.communicate(timeout=10)
    assert process.returncode == 0, errors


def test_no_such_microphone(run_process, model):
    done = run_process("listen", "--model", model, "--microphone", "no such one")
    assert done.returncode == 5
    (line,) = [each for each in done.stderr.splitlines() if b"edge-ser:" in each]
    assert b"no such one" in line or b"no microphone found" in line
