"""`edge-ser listen` as a process: signals, settings, sinks that fail, long runs."""

import contextlib
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from benchmarks.microphone import Feeder
from service_process import REPOSITORY, Service, until
from voice import hiss, voice

LISTEN = [sys.executable, "-m", "edge_ser", "listen", "--json"]


@pytest.fixture
def fifo(tmp_path):
    path = tmp_path / "fifo"
    os.mkfifo(path)
    feeder = Feeder(path)
    yield path, feeder
    feeder.close()


@pytest.fixture
def serve(tmp_path, model, fifo):
    services = []
    settings = tmp_path / "config.toml"

    def begin(text="", *arguments, **options):
        settings.write_text(f"model = '{model}'\n{text}\n[source]\npipe = '{fifo[0]}'")
        arguments = ("--config", settings, "--json", *arguments)
        services.append(Service(tmp_path, *arguments, **options))
        return services[-1]

    yield begin
    for service in services:
        service.close()


def test_reload_takes_good_settings_and_refuses_wrong_ones(serve, fifo, tmp_path):
    service = serve("device_name = 'first'")
    service.wait_status("listening")
    settings = tmp_path / "config.toml"
    good = settings.read_text()
    settings.write_text("devise_name = 'x'\n" + good)
    service.send(signal.SIGHUP)
    service.wait_log("settings refused, the old ones stay")
    service.wait_log("did you mean")
    fifo[1].say(voice(100, 2))
    assert service.events.get(timeout=15)["device"] == "first"
    assert service.next_label() == "idle"
    settings.write_text(good.replace("first", "second"))
    service.send(signal.SIGHUP)
    service.wait_log("settings read again")
    service.wait_status("listening, idle; 0 events")
    fifo[1].say(voice(320, 2))
    assert service.events.get(timeout=15)["device"] == "second"
    assert service.told.count("READY=1") >= 3  # start, refused, read again
    # systemd 257 would take the service for ending, and kill it after its stop time.
    assert "STOPPING=1" not in service.told


def test_a_sink_that_cannot_be_made_is_refused_on_reload(serve, fifo, tmp_path):
    service = serve("device_name = 'first'")
    service.wait_status("listening")
    settings = tmp_path / "config.toml"
    settings.write_text(settings.read_text() + "\n[socket]\npath = '/no/folder/s'\n")
    service.send(signal.SIGHUP)
    service.wait_log("/no/folder/s")
    fifo[1].say(voice(100, 2))
    assert service.events.get(timeout=15)["device"] == "first"


def test_mute_over_the_socket(serve, fifo, tmp_path, run):
    path = tmp_path / "socket"
    service = serve("", env={"EDGE_SER_SOCKET_PATH": str(path)})
    service.wait_status("listening")
    assert run("mute", "on", "--socket", path).out.startswith("muted")
    fifo[1].say(voice(100, 2))
    service.wait_status("muted")
    time.sleep(3.5)
    assert service.events.empty()
    run("mute", "off", "--socket", path)
    assert "listening" in until(
        lambda: (
            "listening" in (out := run("mute", "status", "--socket", path).out) and out
        )
    )
    fifo[1].say(voice(320, 2))
    assert service.next_label() == "high"
    assert service.end()[0] == 0
    assert not path.exists()


def test_mute_without_a_listener(run, tmp_path):
    run("mute", "on").check_error(1, "/run/edge-ser/socket: no listener answers")
    run("mute", "on", "--socket", tmp_path / "s").check_error(1, "is it running?")


def test_one_broken_sink_does_not_touch_the_others(serve, fifo, tmp_path):
    folder = tmp_path / "unplugged"
    folder.mkdir()
    env = {
        "EDGE_SER_JSON_FILE_PATH": str(folder / "events"),
        "EDGE_SER_COMMAND_ARGUMENTS": "sleep 60",
        "EDGE_SER_COMMAND_TIMEOUT_S": "30",
        "EDGE_SER_MQTT_HOST": "127.0.0.1",
        "EDGE_SER_MQTT_PORT": "9",
    }
    service = serve("", env=env)
    service.wait_status("listening")
    folder.rmdir()
    fifo[1].say(voice(100, 2))
    assert [service.next_label(), service.next_label()] == ["low", "idle"]
    service.wait_status(f"2 lost at file {folder / 'events'}")
    service.wait_log("mqtt 127.0.0.1:9: cannot be reached ([Errno 111]")
    service.wait_status("2 waiting at mqtt 127.0.0.1:9")
    code, seconds = service.end()
    assert code == 0
    assert seconds < 1.0
    for sink in ("mqtt 127.0.0.1:9", "command sleep", f"file {folder / 'events'}"):
        service.wait_log(f"{sink}: 0 of 2 events delivered, 2 lost")


def test_a_reader_that_does_not_read_cannot_hold_up_the_end(model, recording):
    """Standard output blocks for ever; the source waits for it, the signal does not."""
    reader, writer = os.pipe()
    fill = b"x" * 4096
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, fill)
    os.set_blocking(writer, True)
    process = subprocess.Popen(
        [*LISTEN, "--model", model, "--file", recording],
        stdout=writer,
        stderr=subprocess.PIPE,
        cwd=REPOSITORY,
        env=os.environ | {"EDGE_SER_GATE_SPEECH": "0"},
    )
    os.close(writer)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(4)
    process.terminate()
    begun = time.monotonic()
    _, errors = process.communicate(timeout=10)
    assert time.monotonic() - begun < 1.0
    assert process.returncode == 0
    assert b"standard output: 0 of 4 events delivered, 4 lost" in errors
    os.close(reader)


def test_a_slow_command_gets_every_event_of_a_file(model, recording, tmp_path):
    out = tmp_path / "out"
    hook = tmp_path / "hook"
    hook.write_text(f"sleep 0.5; cat >>{out}\n")
    done = subprocess.run(
        [*LISTEN, "--model", model, "--file", recording],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        timeout=60,
        env=os.environ
        | {
            "EDGE_SER_GATE_SPEECH": "0",
            "EDGE_SER_COMMAND_ARGUMENTS": f"sh {hook}",
        },
    )
    assert done.returncode == 0, done.stderr
    assert out.read_text() == done.stdout


def test_listening_needs_no_openssl():
    """Which `hashlib` brings, with 3.4 MiB; numpy 1 brings it anyway."""
    code = (
        "import sys; import edge_ser.cli.listen, edge_ser.audio.microphone; "
        "print([name for name, module in sys.modules.items() "
        "if name.startswith('edge_ser') and {'hashlib', 'ssl'} & set(dir(module))])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY
    )
    assert done.stdout == "[]\n", done.stderr


def test_digital_silence_is_reported(serve, fifo, monkeypatch):
    fifo[1].dead = True
    service = serve()
    service.wait_status("listening")
    service.wait_status("digital silence", seconds=30)
    fifo[1].dead = False
    told = len(service.log)
    until(lambda: any("listening to" in line for line in service.log[told - 1 :]))


def test_ends_when_nobody_reads(model, recording):
    process = subprocess.Popen(
        [*LISTEN, "--model", model, "--file", recording],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=REPOSITORY,
        env=os.environ | {"EDGE_SER_GATE_SPEECH": "0"},
    )
    process.stdout.close()
    errors = process.stderr.read()
    process.stderr.close()
    process.wait(20)
    assert b"Traceback" not in errors


def test_a_clock_that_jumps_changes_the_time_and_nothing_else(classifier, conversation):
    from edge_ser.listener import Listener
    from edge_ser.vad import GateSettings

    class Blocks:
        name, live, paced, reopens = "blocks", True, False, False

        def open(self, sample_rate_hz):
            self.blocks = iter(np.array_split(conversation, 160))

        def read(self):
            return next(self.blocks, None)

        def close(self):
            pass

    class Keep:
        name, undelivered = "keep", 0

        def __init__(self):
            self.events = []

        def send(self, event):
            self.events.append(event)

        def close(self):
            pass

    def labels(clock):
        sink = Keep()
        Listener(
            classifier,
            Blocks(),
            [sink],
            device="d",
            gate=GateSettings(speech=0),
            clock=clock,
        ).run()
        return [(event.label, event.duration_s) for event in sink.events]

    jumps = iter(np.tile([1e9, 1e5, 2e9, 0], 1000))
    assert labels(lambda: float(next(jumps))) == labels(time.time)


def rss_mib(pid):
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / (1 << 20)


class Subscriber:
    """A client that the broker remembers; sees every event at least once."""

    def __init__(self, port):
        from paho.mqtt import client as paho
        from paho.mqtt.enums import CallbackAPIVersion

        self.times, self.online = set(), threading.Event()
        self.client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id="watch", clean_session=False
        )
        self.client.reconnect_delay_set(1, 1)
        self.client.on_connect = lambda client, *_: client.subscribe("edge-ser/#", 1)
        self.client.on_message = lambda _c, _d, message: self._see(message)
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()

    def _see(self, message):
        if message.topic.endswith("/event"):
            self.times.add(json.loads(message.payload)["time"])
        elif message.topic.endswith("/availability"):
            (self.online.set if message.payload == b"online" else self.online.clear)()

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


@pytest.mark.parametrize("hours", [2.4, pytest.param(24, marks=pytest.mark.long)])
def test_hours_are_heard_and_every_event_delivered_or_counted(
    tmp_path, repository, hours
):
    """As fast as it goes: bundled models, every sink, a broker that comes and goes."""
    pytest.importorskip("paho.mqtt.client", reason="needs pip install .[mqtt]")
    from broker import MOSQUITTO, Broker
    from edge_ser.audio.file import read_blocks

    if MOSQUITTO is None:
        pytest.skip("needs a broker: apt install mosquitto")
    voices = np.concatenate(
        list(read_blocks(repository / "examples/audio/kitchen.wav", 16000))
    )
    minutes = []
    for seed in range(3):
        minute = hiss(60, seed=seed)
        minute[16000 * 9 :][: len(voices)] += voices
        minutes.append((np.clip(minute, -1, 1) * 32767).astype("<i2").tobytes())
    broker = Broker(
        tmp_path,
        *("allow_anonymous true", "max_queued_messages 0"),
        *("persistence true", f"persistence_location {tmp_path}/"),
    )
    broker.start()
    watcher = Subscriber(broker.port)
    events, socket_path = tmp_path / "events.jsonl", tmp_path / "socket"
    service = Service(
        tmp_path,
        *("--pipe", "-", "--json", "--debug"),
        stdin=subprocess.PIPE,
        env={
            "EDGE_SER_GATE_SPEECH": "0.9",
            "EDGE_SER_JSON_FILE_PATH": str(events),
            "EDGE_SER_JSON_FILE_MAX_BYTES": str(1 << 30),
            "EDGE_SER_SOCKET_PATH": str(socket_path),
            "EDGE_SER_COMMAND_ARGUMENTS": "true",
            "EDGE_SER_MQTT_HOST": "127.0.0.1",
            "EDGE_SER_MQTT_PORT": str(broker.port),
            "EDGE_SER_MQTT_BACKLOG": str(round(hours * 10)),
        },
    )
    # When the broker goes and comes back, in minutes: the second time for more events
    # than the backlog holds.
    goes = {round(hours * at) for at in (7.5, 22.5, 50)}
    comes = {round(hours * at) for at in (8.75, 35, 51.25)}
    memory, over_socket, client = [], [], socket.socket(socket.AF_UNIX)

    def client_lines():
        with client, client.makefile() as lines:
            yield from map(json.loads, lines)

    try:
        service.wait_ready()
        until(socket_path.exists)
        client.connect(str(socket_path))
        reader = threading.Thread(target=lambda: over_socket.extend(client_lines()))
        reader.start()
        for minute in range(round(hours * 60)):
            if minute in goes:
                broker.stop()
                watcher.online.clear()
            if minute in comes:
                broker.start()
                assert watcher.online.wait(60)
            service.process.stdin.write(minutes[minute % len(minutes)])
            if minute % 30 == 10:
                memory.append(rss_mib(service.process.pid))
        service.process.stdin.close()
        code = service.process.wait(120)
        status = service.wait_status(
            f"{hours * 3600:.0f} s heard, 0.0 s lost, 0 failures"
        )
        made = int(status.split(" events")[0].split()[-1])
        until(lambda: any("socket" in line for line in service.log))
        told = r"edge-ser: (\w+).*: (\d+) of (\d+) events delivered, (\d+) lost"
        counted = {
            match[1]: tuple(map(int, match.groups()[1:]))
            for line in service.log
            if (match := re.match(told, line))
        }
        reader.join()
    finally:
        watcher.close()
        broker.kill()
        service.close()
    on_stdout = list(service.events.queue)
    labels = [event["label"] for event in on_stdout]
    assert labels.count("idle") >= hours * 60  # every utterance begins and ends
    assert len(on_stdout) == made
    written = [json.loads(line) for line in events.read_text().splitlines()]
    assert on_stdout == written == over_socket
    for name in ("standard", "file", "socket", "command"):
        assert counted[name] == (made, made, 0), service.log
    delivered, taken, lost = counted["mqtt"]
    assert (delivered + lost, taken) == (made, made)
    assert lost > 0
    assert code == 1  # which tells of it
    until(lambda: len(watcher.times) == delivered)
    print("RSS every half hour, MiB:", [round(value, 2) for value in memory])
    settled = memory[len(memory) // 24]  # after the first hour of a day
    assert max(memory) - settled < 1.0, memory
    # numpy 1 takes 6 to 7 MiB more than numpy 2.
    assert max(memory) < (64 if np.__version__ >= "2" else 70)


def test_the_socket_serves_while_the_pipe_is_fed(serve, fifo, tmp_path):
    path = tmp_path / "events"
    service = serve("", env={"EDGE_SER_SOCKET_PATH": str(path)})
    service.wait_status("listening")
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as client:
        client.settimeout(15)
        client.connect(str(path))
        fifo[1].say(voice(100, 2))
        with client.makefile("r") as lines:
            assert json.loads(lines.readline())["label"] == "low"


def test_an_order_before_it_is_ready_does_not_kill_it():
    from edge_ser.errors import ConfigError
    from edge_ser.service import Service as InProcess

    def load():
        os.kill(os.getpid(), signal.SIGUSR1)
        os.kill(os.getpid(), signal.SIGHUP)
        raise ConfigError("far enough")

    names = (signal.SIGUSR1, signal.SIGHUP)
    before = [signal.getsignal(name) for name in names]
    service = InProcess(load)
    try:
        with pytest.raises(ConfigError, match="far enough"):
            service.run()
    finally:
        for name, handler in zip(names, before, strict=True):
            signal.signal(name, handler)
    assert service._mute_wanted
    assert service._reload_wanted


def test_ends_with_its_terminal(serve, fifo):
    master, terminal = os.openpty()
    service = serve("", stdin=terminal)
    os.close(terminal)
    service.wait_status("listening")
    service.send(signal.SIGHUP)
    service.wait_log("settings read again")
    service.wait_status("listening, idle; 0 events")
    os.close(master)
    assert service.end(signal.SIGHUP)[0] == 0
    assert any("ended" in line for line in service.log)


def test_a_muted_listener_does_not_open_its_microphone(classifier):
    from edge_ser.listener import Listener
    from edge_ser.mute import MuteSwitch

    class Microphone:
        name, live, paced, reopens = "microphone", True, True, True
        opened = 0

        def open(self, _rate_hz):
            self.opened += 1

        def read(self):
            return np.zeros(1600, np.float32)

        def close(self):
            pass

    source, mute = Microphone(), MuteSwitch()
    mute.set(True)
    polls = iter(range(5))
    listener = Listener(
        classifier,
        source,
        [],
        device="d",
        mute=mute,
        poll=lambda: next(polls, None) is None and listener.stop(),
    )
    listener.run()
    assert listener.status().startswith("muted")
    assert source.opened == 0
