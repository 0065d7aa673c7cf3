"""Starts `edge-ser listen` as systemd would, and a PulseAudio with a microphone."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import queue
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

REPOSITORY = pathlib.Path(__file__).parents[1]
PLUGINS = next(pathlib.Path("/usr/lib").glob("*/alsa-lib"), None)


def until(condition, seconds=20.0, what="it"):
    """Wait for a condition; returns what it returned."""
    end = time.monotonic() + seconds
    while True:
        answer = condition()
        if answer:
            return answer
        assert time.monotonic() < end, f"{what} never happened"
        time.sleep(0.02)


class Service:
    """A running listener with its events, its log and what it told systemd."""

    def __init__(self, folder, *arguments, env=None, watchdog_s=None):
        address = str(folder / f"notify{time.monotonic_ns()}")
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notify.bind(address)
        self._notify.settimeout(0.2)
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("EDGE_SER_")
        }
        environment |= {"EDGE_SER_GATE_SPEECH": "0", "NOTIFY_SOCKET": address}
        environment |= env or {}
        if watchdog_s is not None:
            environment["WATCHDOG_USEC"] = str(int(watchdog_s * 1e6))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "edge_ser", "listen", *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=REPOSITORY,
        )
        self.events: queue.Queue[dict] = queue.Queue()
        self.log: list[str] = []
        self.told: list[str] = []
        self.fed_at: list[float] = []
        self._ended = False
        self._threads = [
            threading.Thread(target=self._read_events, daemon=True),
            threading.Thread(target=self._read_log, daemon=True),
            threading.Thread(target=self._read_notify, daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def _read_events(self):
        for line in self.process.stdout:
            self.events.put(json.loads(line))

    def _read_log(self):
        self.log.extend(self.process.stderr)

    def _read_notify(self):
        while not self._ended:
            try:
                message = self._notify.recv(4096).decode()
            except TimeoutError:
                continue
            if message == "WATCHDOG=1":
                self.fed_at.append(time.monotonic())
            else:
                self.told.append(message)

    @property
    def status(self):
        statuses = [each for each in self.told if each.startswith("STATUS=")]
        return statuses[-1].removeprefix("STATUS=") if statuses else ""

    def wait_status(self, *words, seconds=20.0):
        return until(
            lambda: all(word in self.status for word in words) and self.status,
            seconds,
            f"status with {words} (is: {self.status!r}, log: {self.log})",
        )

    def wait_ready(self):
        until(lambda: "READY=1" in self.told, what=f"READY (log: {self.log})")

    def wait_log(self, word, seconds=20.0):
        until(
            lambda: any(word in line for line in self.log),
            seconds,
            f"{word!r} in {self.log}",
        )

    def next_label(self, seconds=20.0):
        return self.events.get(timeout=seconds)["label"]

    def send(self, number):
        self.process.send_signal(number)

    def end(self, number=signal.SIGTERM, seconds=10.0):
        """Send a signal; the exit code and how long it took."""
        begun = time.monotonic()
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(seconds)
        return code, time.monotonic() - begun

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._ended = True
        for thread in self._threads:
            thread.join(5)
        self.process.stdout.close()
        self.process.stderr.close()
        self._notify.close()


def missing_for_pulse():
    """What the PulseAudio tests lack here; empty if nothing."""
    try:
        import pyaudio  # noqa: F401
    except ImportError:
        return "PyAudio: pip install .[mic]"
    if not shutil.which("pulseaudio"):
        return "pulseaudio: apt install pulseaudio pulseaudio-utils"
    if PLUGINS is None or not (PLUGINS / "libasound_module_pcm_pulse.so").exists():
        return "ALSA's PulseAudio plugin: apt install libasound2-plugins"
    return ""


class Pulse:
    """A PulseAudio of its own whose microphone is a FIFO: the writer sets the pace."""

    def __init__(self, folder):
        self.folder = folder
        self.fifo = folder / "fifo"
        (folder / "run").mkdir(mode=0o700)
        native = folder / "native"
        (folder / "pulse.pa").write_text(
            "load-module module-native-protocol-unix auth-anonymous=1 "
            f"socket={native}\n"
            f"load-module module-pipe-source source_name=mic file={self.fifo} "
            "format=s16le rate=16000 channels=1\n"
            "set-default-source mic\n"
        )
        (folder / "asound.conf").write_text(
            f'pcm_type.pulse {{ lib "{PLUGINS}/libasound_module_pcm_pulse.so" }}\n'
            "pcm.!default { type pulse "
            'hint { show on description "fake microphone" } }\n'
            "ctl.!default { type hw card 0 }\n"
        )
        self.env = {
            "HOME": str(folder),
            "PULSE_RUNTIME_PATH": str(folder / "run"),
            "PULSE_SERVER": f"unix:{native}",
            "ALSA_CONFIG_PATH": str(folder / "asound.conf"),
        }
        self.process = None
        self.start()

    def start(self):
        self.fifo.unlink(missing_ok=True)
        (self.folder / "native").unlink(missing_ok=True)
        arguments = "-n --daemonize=no --exit-idle-time=-1 --disallow-exit "
        arguments += "--realtime=no --high-priority=no --use-pid-file=no"
        self.process = subprocess.Popen(
            ["pulseaudio", "-F", self.folder / "pulse.pa", *arguments.split()],
            env=os.environ | self.env,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until(lambda: (self.folder / "native").exists() and self.fifo.exists())

    def kill(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        self.process.wait()


class Feeder:
    """Writes PCM into a FIFO at the pace of time, quiet noise unless told otherwise."""

    def __init__(self, fifo):
        self._fifo = fifo
        self._ended = threading.Event()
        self.paused = threading.Event()
        self._waiting: queue.Queue = queue.Queue()
        self.dead = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def say(self, samples):
        """Write this next; returns when it begins, roughly."""
        self._waiting.put(samples)

    def _run(self):
        from voice import hiss

        room = hiss(10)
        descriptor = os.open(self._fifo, os.O_RDWR | os.O_NONBLOCK)
        due = time.monotonic()
        speech, position = room[:0], 0
        while not self._ended.is_set():
            due += 0.05
            time.sleep(max(0.0, due - time.monotonic()))
            if self.paused.is_set():
                continue
            position = (position + 800) % (len(room) - 800)
            block = room[position : position + 800].copy()
            if not len(speech) and not self._waiting.empty():
                speech = self._waiting.get()
            part, speech = speech[:800], speech[800:]
            block[: len(part)] += part
            if self.dead:
                block[:] = 0
            # If nobody reads, the sound is lost, as it is in a room.
            with contextlib.suppress(BlockingIOError):
                os.write(descriptor, (block * 32767).astype("<i2").tobytes())
        os.close(descriptor)

    def close(self):
        self._ended.set()
        self._thread.join()
