"""The unit under a real systemd, with a microphone of a real PulseAudio."""

from __future__ import annotations

import json
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import time
import wave

import numpy as np
import pytest

from voice import RATE_HZ, voice

UNIT = "edge-ser.service"
DEPLOY = pathlib.Path(__file__).parents[2] / "deploy"
SERVICE, ALLOW = DEPLOY / "edge-ser.service", DEPLOY / "edge-ser-allow"


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


def drop_ins(*what):
    """What edge-ser-allow would write for the unit."""
    told = subprocess.check_output([ALLOW, "--dry-run", *what], text=True)
    text, wanted = "", False
    for line in told.splitlines():
        if line.startswith("would: write"):
            wanted = f"{UNIT}.d/" in line
        elif wanted:
            text += line[4:] + "\n"
    assert "[Service]" in text
    return text


@pytest.mark.parametrize(
    "extra",
    [
        [],
        [("broker", "192.168.1.5", "fd00::/64")],
        [("sound-server", "root")],
        [("coral",)],
        [("broker", "192.168.1.0/24"), ("sound-server", "root"), ("coral",)],
    ],
)
def test_the_unit_is_valid_and_well_fenced_with_any_drop_in(tmp_path, extra):
    if not shutil.which("systemd-analyze"):
        pytest.skip("needs systemd-analyze: apt install systemd")
    unit = tmp_path / UNIT
    # verify looks for the program, which is not installed here
    text = SERVICE.read_text().replace("/opt/edge-ser/bin/edge-ser", "/bin/sh")
    unit.write_text(text + "".join(drop_ins(*what) for what in extra))
    checked = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True
    )
    assert (checked.returncode, checked.stderr) == (0, "")
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=15"]
    exposed = subprocess.run(
        [*command, "--no-pager", unit], capture_output=True, text=True
    )
    assert exposed.returncode == 0, exposed.stdout[-300:]


def test_the_units_of_the_docs_are_valid(tmp_path):
    if not shutil.which("systemd-analyze"):
        pytest.skip("needs systemd-analyze: apt install systemd")
    page = (DEPLOY.parent / "docs/raspberry-pi.md").read_text()
    service, timer = re.findall(r"^```ini\n(.*?)^```", page, re.S | re.M)
    # verify looks for the programs
    service = re.sub(r"^ExecStart=\S+", "ExecStart=sh", service, flags=re.M)
    units = [tmp_path / f"edge-ser-model.{kind}" for kind in ("service", "timer")]
    for unit, text in zip(units, (service, timer), strict=True):
        unit.write_text(text)
    checked = subprocess.run(
        ["systemd-analyze", "verify", *units], capture_output=True, text=True
    )
    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "say what to allow"),
        (["everything"], "unknown: everything"),
        (["broker"], "needs an address"),
        (["broker", "localhost"], "localhost is a name; give its address: "),
        (["broker", "192.168.1.256"], "192.168.1.256 is no address; valid: "),
        (["broker", "192.168.1.0/255.255.255.0"], "255.0 is no address; valid: "),
        (["broker", "fe80::1%eth0"], "fe80::1%eth0 is no address; valid: "),
        (["broker", "1.2.3.4", "--dry-run"], "--dry-run is no address; valid: "),
        (["sound-server", "no-such-user"], "no user no-such-user"),
        (["coral", "2"], "takes nothing more"),
    ],
)
def test_wrong_wishes_are_one_line(arguments, message):
    done = subprocess.run(
        [ALLOW, "--dry-run", *arguments], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


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


def test_root_mutes_it_as_installed_and_nobody_else(service):
    machine = service
    mute = ("/usr/local/bin/edge-ser", "mute")
    stranger = ("setpriv", "--reuid=65534", "--clear-groups")
    assert "try sudo" in machine.run(*stranger, *mute, "on").stderr
    assert machine.run(*mute, "on").stdout.startswith("muted")
    machine.wait_for(
        "muted", lambda: machine.show(UNIT, "StatusText").startswith("muted"), 10
    )
    assert not machine.run(*mute, "off").stdout.startswith("muted")


def test_a_broker_s_password_is_read_by_the_group_audio(service):
    machine = service
    settings = machine.root / "etc/edge-ser/config.toml"
    good, name = settings.read_text(), "/etc/edge-ser/mqtt-password"
    try:
        settings.write_text(
            f'{good}[mqtt]\nhost = "localhost"\nuser = "box"\n'
            f'password_file = "{name}"\n'
        )
        machine.run("install", "-m", "600", "/dev/null", name)
        machine.run("systemctl", "restart", UNIT)
        assert machine.show(UNIT, "ExecMainStatus") == "2"
        assert "Permission denied" in (told := machine.journal(UNIT))
        assert "what the group audio may" in told
        machine.run("install", "-m", "640", "-g", "audio", "/dev/null", name)
        machine.run("systemctl", "restart", UNIT)
        assert machine.show(UNIT, "ActiveState") == "active"
    finally:
        settings.write_text(good)
        machine.run("rm", "-f", name)


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


@pytest.fixture
def allowed(service):
    """The service, and what it may reach, as it was before."""
    settings = service.root / "etc/edge-ser/config.toml"
    good = settings.read_text()
    yield service
    settings.write_text(good)
    service.run("/usr/local/sbin/edge-ser-allow", "none")
    folder = service.root / f"etc/systemd/system/{UNIT}.d"
    assert [path.name for path in folder.iterdir()] == ["pulse.conf"]


def test_a_broker_on_the_network_is_reached_when_allowed(allowed):
    machine = allowed
    address = subprocess.check_output(["hostname", "-I"], text=True).split()[0]
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_server((address, 0), family=family) as network:
        settings = machine.root / "etc/edge-ser/config.toml"
        port = network.getsockname()[1]
        settings.write_text(
            f'{settings.read_text()}[mqtt]\nhost = "{address}"\nport = {port}\n'
        )
        machine.run("systemctl", "restart", UNIT)
        network.settimeout(4)
        with pytest.raises(TimeoutError):
            network.accept()
        done = machine.run("/usr/local/sbin/edge-ser-allow", "broker", address)
        assert done.returncode == 0, done.stderr
        network.settimeout(60)
        network.accept()[0].close()


def test_the_sound_server_of_a_user_is_reached_when_allowed(allowed, pulse):
    """A guarded socket in the user's own folders, as a desktop has it."""
    machine = allowed
    made = f"""
        useradd --create-home --uid 1000 pi
        systemctl start user@1000.service
        mkdir -p ~pi/.config/pulse /run/user/1000/pulse
        cp {pulse.folder}/cookie ~pi/.config/pulse/cookie
        ln -s {pulse.guarded} /run/user/1000/pulse/native
        chmod -R go= ~pi /run/user/1000
        chown -R pi: ~pi /run/user/1000
        rm /etc/systemd/system/{UNIT}.d/pulse.conf
    """
    drop_in = machine.root / f"etc/systemd/system/{UNIT}.d/pulse.conf"
    kept = drop_in.read_text()
    done = machine.run("sh", "-ec", made)
    assert done.returncode == 0, done.stderr
    try:
        done = machine.run("/usr/local/sbin/edge-ser-allow", "sound-server", "pi")
        assert done.returncode == 0, machine.journal(UNIT)[-2000:]
        machine.wait_for(
            "listening to the sound server",
            lambda: machine.show(UNIT, "StatusText").startswith("listening"),
            60,
        )
    finally:
        drop_in.write_text(kept)
        machine.run("systemctl", "stop", "user@1000.service")
        machine.run("userdel", "--force", "--remove", "pi")
