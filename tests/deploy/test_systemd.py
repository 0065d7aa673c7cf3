"""The unit under a real systemd, with a microphone of a real PulseAudio."""

from __future__ import annotations

import json
import pathlib
import shutil
import signal
import subprocess
import time
import wave

import numpy as np
import pytest

from voice import RATE_HZ, voice

UNIT = "edge-ser.service"
SERVICE = pathlib.Path(__file__).parents[2] / "deploy/edge-ser.service"


@pytest.fixture
def service(installed):
    """The running service."""
    machine = installed
    machine.run("systemctl", "reset-failed", UNIT)
    machine.run("systemctl", "restart", UNIT)
    machine.wait_for(
        "active", lambda: machine.show(UNIT, "ActiveState") == "active", 30
    )
    yield machine
    machine.run("systemctl", "stop", UNIT)


@pytest.fixture(scope="module")
def utterance(tmp_path_factory):
    path = tmp_path_factory.mktemp("voice") / "voice.wav"
    samples = (np.clip(voice(180, 4, 0.15), -1, 1) * 32767).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, RATE_HZ, 0, "NONE", ""))
        file.writeframes(samples.tobytes())
    return path


def test_the_unit_is_valid_and_well_fenced(tmp_path):
    if not shutil.which("systemd-analyze"):
        pytest.skip("needs systemd-analyze: apt install systemd")
    unit = tmp_path / UNIT
    # verify looks for the program, which is not installed here
    unit.write_text(
        SERVICE.read_text().replace("/opt/edge-ser/bin/edge-ser", "/bin/sh")
    )
    checked = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True
    )
    assert (checked.returncode, checked.stderr) == (0, "")
    exposed = subprocess.run(
        [
            "systemd-analyze",
            "security",
            "--offline=true",
            "--threshold=15",
            "--no-pager",
            unit,
        ],
        capture_output=True,
        text=True,
    )
    assert exposed.returncode == 0, exposed.stdout[-300:]


def test_it_gets_ready_listens_and_announces(service, pulse, utterance):
    machine = service
    assert machine.show(UNIT, "NRestarts") == "0"
    machine.wait_for(
        "listening",
        lambda: machine.show(UNIT, "StatusText").startswith("listening"),
        20,
    )
    time.sleep(2)  # a microphone that has just opened gives no sound yet
    pulse.play(utterance)

    def events():
        lines = machine.journal(UNIT).splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    machine.wait_for(
        "idle after speech",
        lambda: bool(events()) and events()[-1]["label"] == "idle",
        20,
    )
    found = events()
    assert len(found) >= 2
    assert {event["device"] for event in found} == {"box"}
    assert found[-2]["label"] != "idle"


def test_it_runs_as_nobody_and_sees_little(service):
    machine = service
    process = machine.show(UNIT, "MainPID")
    user = machine.run("ps", "-o", "user=", "-p", process).stdout.strip()
    assert user != "root"
    status = machine.run("cat", f"/proc/{process}/status").stdout
    assert "CapEff:\t0000000000000000" in status
    assert "NoNewPrivs:\t1" in status
    assert "Seccomp:\t2" in status


def test_a_killed_process_starts_again(service):
    machine = service
    first = machine.show(UNIT, "MainPID")
    machine.run("kill", "-9", first)
    machine.wait_for(
        "another process",
        lambda: (
            machine.show(UNIT, "MainPID") not in ("0", first)
            and machine.show(UNIT, "ActiveState") == "active"
        ),
        30,
    )
    assert int(machine.show(UNIT, "NRestarts")) >= 1


def test_sigterm_ends_it_within_a_second_or_so(service):
    machine = service
    started_s = time.monotonic()
    machine.run("systemctl", "stop", UNIT)
    assert time.monotonic() - started_s < 3
    assert machine.show(UNIT, "Result") == "success"


def test_wrong_settings_end_it_for_good(installed):
    machine = installed
    settings = machine.root / "etc/edge-ser/config.toml"
    good = settings.read_text()
    try:
        settings.write_text("modell = 3\n")
        machine.run("systemctl", "restart", UNIT)
        machine.wait_for(
            "failed", lambda: machine.show(UNIT, "ActiveState") == "failed", 20
        )
        assert machine.show(UNIT, "ExecMainStatus") == "2"
        assert "modell" in machine.journal(UNIT)
    finally:
        settings.write_text(good)
        machine.run("systemctl", "reset-failed", UNIT)


def test_a_reload_refuses_wrong_settings_and_stays(service):
    machine = service
    settings = machine.root / "etc/edge-ser/config.toml"
    good = settings.read_text()
    process = machine.show(UNIT, "MainPID")
    try:
        settings.write_text("modell = 3\n")
        machine.run("systemctl", "reload", UNIT)
        machine.wait_for(
            "refusal", lambda: "settings refused" in machine.journal(UNIT), 10
        )
    finally:
        settings.write_text(good)
    assert machine.show(UNIT, "MainPID") == process
    assert machine.show(UNIT, "ActiveState") in ("active", "reloading")


def test_a_hung_sound_server_leads_to_a_restart(service, pulse):
    machine = service
    machine.wait_for(
        "listening",
        lambda: machine.show(UNIT, "StatusText").startswith("listening"),
        20,
    )
    before = int(machine.show(UNIT, "NRestarts"))
    process = machine.show(UNIT, "MainPID")
    assert pulse.process is not None
    pulse.process.send_signal(signal.SIGSTOP)
    try:
        machine.wait_for(
            "a restart",
            lambda: (
                int(machine.show(UNIT, "NRestarts")) > before
                and machine.show(UNIT, "MainPID") != process
            ),
            60,
        )
    finally:
        pulse.process.send_signal(signal.SIGCONT)
    machine.wait_for(
        "listening again",
        lambda: machine.show(UNIT, "StatusText").startswith("listening"),
        60,
    )


def test_a_missing_sound_server_is_waited_for(service, pulse):
    machine = service
    machine.wait_for(
        "listening",
        lambda: machine.show(UNIT, "StatusText").startswith("listening"),
        20,
    )
    process = machine.show(UNIT, "MainPID")
    pulse.kill()
    machine.wait_for(
        "waiting",
        lambda: "waiting" in machine.show(UNIT, "StatusText"),
        30,
    )
    time.sleep(10)  # longer than the watchdog: waiting is no reason to be killed
    assert machine.show(UNIT, "MainPID") == process
    pulse.start()
    machine.wait_for(
        "listening again",
        lambda: machine.show(UNIT, "StatusText").startswith("listening"),
        60,
    )
    assert machine.show(UNIT, "MainPID") == process
