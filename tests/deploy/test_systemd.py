"""The unit under a real systemd, with a microphone of a real PulseAudio."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import signal
import subprocess
import time
import wave

import numpy as np
import pytest

from machine import Machine, install, make_root, missing_tools
from tiny_model import TINY_MODEL
from voice import RATE_HZ, voice

UNIT = "edge-ser.service"
ROOT = pathlib.Path(__file__).parents[2]
SERVICE = ROOT / "deploy/edge-ser.service"

needs_container = pytest.mark.skipif(
    bool(missing_tools()),
    reason=f"needs {', '.join(missing_tools())}: apt install systemd-container "
    "mmdebstrap pulseaudio pulseaudio-utils, and run as root",
)


class Pulse:
    """A PulseAudio server with a microphone that plays what is sent to ``spk``."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.socket = folder / "native"
        script = folder / "pulse.pa"
        script.write_text(
            f"load-module module-native-protocol-unix auth-anonymous=1 "
            f"socket={self.socket}\n"
            "load-module module-null-sink sink_name=spk rate=16000 channels=1 "
            "format=s16le\n"
            "load-module module-remap-source source_name=mic master=spk.monitor\n"
            "set-default-source mic\n"
        )
        self.process: subprocess.Popen | None = None
        self.start()

    def start(self) -> None:
        self.socket.unlink(missing_ok=True)
        self.process = subprocess.Popen(
            [
                "pulseaudio",
                "-n",
                "-F",
                str(self.folder / "pulse.pa"),
                "--daemonize=no",
                "--exit-idle-time=-1",
                "--disallow-exit",
                "--realtime=no",
                "--high-priority=no",
                "--use-pid-file=no",
            ],
            env={
                **os.environ,
                "HOME": str(self.folder),
                "PULSE_RUNTIME_PATH": str(self.folder / "run"),
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        end_s = time.monotonic() + 20
        while not self.socket.exists():
            assert time.monotonic() < end_s, "PulseAudio did not start"
            time.sleep(0.1)
        self.socket.chmod(0o777)

    def play(self, path: pathlib.Path) -> None:
        subprocess.run(
            ["paplay", "--device=spk", str(path)],
            env={**os.environ, "PULSE_SERVER": f"unix:{self.socket}"},
            check=True,
            timeout=60,
        )

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@pytest.fixture(scope="module")
def pulse(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pulse")
    # The container's nobody must reach the socket.
    for above in (folder, *folder.parents):
        if above.stat().st_uid == os.geteuid() and above != pathlib.Path("/"):
            above.chmod(above.stat().st_mode | 0o055)
    server = Pulse(folder)
    yield server
    server.kill()


@pytest.fixture(scope="module")
def machine(tmp_path_factory, pulse):
    cache = ROOT / ".cache"
    cache.mkdir(exist_ok=True)
    pristine = cache / "bookworm-systemd"
    if not pristine.exists():
        make_root(pristine)
    root = tmp_path_factory.mktemp("machine") / "root"
    subprocess.run(["cp", "-a", "--reflink=auto", pristine, root], check=True)
    install(root, ROOT)
    settings = root / "etc/edge-ser"
    settings.mkdir()
    shutil.copy(TINY_MODEL, settings / "model.tflite")
    (settings / "config.toml").write_text(
        'model = "/etc/edge-ser/model.tflite"\ndevice_name = "box"\n'
        "[gate]\nspeech = 0\n[decision]\nenter = 0.0\nleave = 0.0\n"
    )
    alsa = settings / "asound.conf"
    alsa.write_text(
        "pcm_type.pulse { lib "
        '"/usr/lib/x86_64-linux-gnu/alsa-lib/libasound_module_pcm_pulse.so" }\n'
        'pcm.!default { type pulse device "mic" hint { show on description "mic" } }\n'
    )
    drop_in = root / f"etc/systemd/system/{UNIT}.d"
    drop_in.mkdir()
    (drop_in / "pulse.conf").write_text(
        "[Service]\n"
        "Environment=ALSA_CONFIG_PATH=/etc/edge-ser/asound.conf\n"
        f"Environment=PULSE_SERVER=unix:{pulse.socket}\n"
        f"BindPaths={pulse.folder}\n"
        "WatchdogSec=8\n"
    )
    booted = Machine(root, (pulse.folder,))
    yield booted
    booted.close()


@pytest.fixture
def service(machine, pulse):
    """The running service; a hung or killed PulseAudio is mended afterwards."""
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


@needs_container
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


@needs_container
def test_it_runs_as_nobody_and_sees_little(service):
    machine = service
    process = machine.show(UNIT, "MainPID")
    user = machine.run("ps", "-o", "user=", "-p", process).stdout.strip()
    assert user != "root"
    status = machine.run("cat", f"/proc/{process}/status").stdout
    assert "CapEff:\t0000000000000000" in status
    assert "NoNewPrivs:\t1" in status
    assert "Seccomp:\t2" in status


@needs_container
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


@needs_container
def test_sigterm_ends_it_within_a_second_or_so(service):
    machine = service
    started_s = time.monotonic()
    machine.run("systemctl", "stop", UNIT)
    assert time.monotonic() - started_s < 3
    assert machine.show(UNIT, "Result") == "success"


@needs_container
def test_wrong_settings_end_it_for_good(machine):
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


@needs_container
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


@needs_container
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


@needs_container
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
