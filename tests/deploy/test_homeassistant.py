"""The add-on agrees with the listener, and its start script with a Supervisor."""

from __future__ import annotations

import http.server
import json
import os
import pathlib
import re
import subprocess
import sys
import threading

import pytest
import yaml

import edge_ser
from edge_ser import bundle, config
from edge_ser.decision import IDLE, UNCERTAIN
from edge_ser.sinks.discovery import Topics, discovery_payload
from tiny_model import TINY_MODEL

FOLDER = pathlib.Path(__file__).parents[2] / "deploy/homeassistant"
ADDON = FOLDER / "addon"
# Types of options that the Supervisor knows; "?" makes one optional.
TYPE = re.compile(r"(str|bool|int|float|port|password|url|match\(.*\)|list\(.+\))\??")


class _Loader(yaml.SafeLoader):
    """Home Assistant's own tag for a blueprint's inputs."""


_Loader.add_constructor("!input", lambda loader, node: f"!input {node.value}")


def load(path):
    return yaml.load(path.read_text(), _Loader)  # a SafeLoader


@pytest.fixture(scope="module")
def addon():
    return load(ADDON / "config.yaml")


def test_the_add_on_describes_itself(addon):
    assert addon["version"] == edge_ser.__version__
    assert re.fullmatch(r"[a-z0-9_]+", addon["slug"])
    assert set(addon["arch"]) <= {"aarch64", "amd64"}  # no interpreter for armv7
    for kind in addon["schema"].values():
        assert TYPE.fullmatch(kind), kind
    # An option is optional, or has a default.
    required = {key for key, kind in addon["schema"].items() if kind[-1] != "?"}
    assert set(addon["options"]) == required


def test_every_option_is_translated_and_documented(addon):
    texts = load(ADDON / "translations/en.yaml")["configuration"]
    assert set(texts) == set(addon["schema"])
    for text in texts.values():
        assert text["name"]
        assert text["description"]
    documented = set(re.findall(r"`([a-z_]+)`", (ADDON / "DOCS.md").read_text()))
    assert set(addon["schema"]) <= documented


def test_yaml_is_tidy():
    rules = "{extends: relaxed, rules: {line-length: {max: 88}}}"
    command = [sys.executable, "-m", "yamllint", "--strict", "-d", rules, FOLDER]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_dashboard_shows_entities_that_exist():
    payload = discovery_payload(Topics("edge-ser", "Kitchen"), [], model="", version="")
    made = {each["default_entity_id"] for each in payload["components"].values()}
    text = (FOLDER / "dashboard.yaml").read_text()
    shown = set(re.findall(r"\b(?:sensor|switch)\.\w+", text))
    assert shown == made
    views = load(FOLDER / "dashboard.yaml")["views"]
    assert all(card["type"] for view in views for card in view["cards"])


def test_the_blueprint_offers_the_models_labels():
    blueprint = load(FOLDER / "blueprints/edge-ser-emotion.yaml")
    inputs = blueprint["blueprint"]["input"]
    offered = inputs["labels"]["selector"]["select"]["options"]
    assert offered == list(bundle.read().card.labels)
    assert not {UNCERTAIN, IDLE} & set(offered)
    text = (FOLDER / "blueprints/edge-ser-emotion.yaml").read_text()
    assert set(re.findall(r"!input (\w+)", text)) == set(inputs)


# ---- the start script ----------------------------------------------------------------


@pytest.fixture
def supervisor():
    """Answers as the Supervisor does; `.answer` None: Home Assistant has no broker."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            allowed = self.headers["Authorization"] == "Bearer secret"
            found = allowed and self.path == "/services/mqtt" and server.answer
            self.send_response(200 if found else 400)
            self.end_headers()
            reply = {"result": "ok", "data": server.answer} if found else {}
            self.wfile.write(json.dumps(reply).encode())

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.answer = None
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def start(tmp_path, supervisor):
    """Runs run.py as the Supervisor would, up to the listener; gives the process."""
    program = tmp_path / "bin/edge-ser"
    program.parent.mkdir()
    # The real program, but for `listen`, which tells how it was called and ends.
    program.write_text(
        '#!/bin/sh\n[ "$1" = listen ] && { echo "$@"; env; exit; }\n'
        f'exec "{sys.executable}" -m edge_ser "$@"\n'
    )
    program.chmod(0o755)

    def run(options):
        (tmp_path / "options.json").write_text(json.dumps(options))
        script = (
            f"import sys, pathlib; sys.path.insert(0, {str(ADDON)!r}); import run\n"
            f"run.OPTIONS = pathlib.Path({str(tmp_path / 'options.json')!r})\n"
            f"run.FILES = pathlib.Path({str(tmp_path)!r})\n"
            f"run.SUPERVISOR = 'http://127.0.0.1:{supervisor.server_port}'\n"
            "run.main()\n"
        )
        return subprocess.run(
            [sys.executable, "-B", "-c", script],
            env={
                "PATH": f"{program.parent}:{os.environ['PATH']}",
                "PYTHONPATH": str(pathlib.Path(edge_ser.__file__).parents[1]),
                "SUPERVISOR_TOKEN": "secret",
                "EDGE_SER_MODEL_FOLDER": str(tmp_path / "models"),
            },
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run


def settings(done):
    """What the listener would make of its environment."""
    assert done.returncode == 0, done.stderr
    *_, order = (line for line in done.stdout.splitlines() if line[:6] == "listen")
    assert order == "listen --wait --json"
    given = dict(
        line.split("=", 1)
        for line in done.stdout.splitlines()
        if line[:9] == "EDGE_SER_"
    )
    return config.load(os.devnull, given, {})


def test_it_takes_home_assistants_broker(start, supervisor):
    supervisor.answer = {
        **{"host": "core-mosquitto", "port": 1883, "ssl": False, "protocol": "3.1.1"},
        **{"username": "addons", "password": "a b=c", "addon": "core_mosquitto"},
    }
    found = settings(start({"device_name": "Home"}))
    assert found.device_name == "Home"
    assert (found.mqtt.host, found.mqtt.port) == ("core-mosquitto", 1883)
    assert (found.mqtt.user, found.mqtt.password) == ("addons", "a b=c")
    assert not found.mqtt.tls


def test_a_broker_of_ones_own_comes_first(start, supervisor):
    supervisor.answer = {"host": "core-mosquitto", "port": 1883}
    options = {"device_name": "Home", "mqtt_host": "other", "mqtt_tls": True}
    options |= {"microphone": "usb", "mqtt_port": 8884}
    found = settings(start(options))
    assert (found.mqtt.host, found.mqtt.port, found.mqtt.tls) == ("other", 8884, True)
    assert found.source.microphone == "usb"


def test_without_a_broker_it_listens_all_the_same(start):
    done = start({"device_name": "Home"})
    assert settings(done).mqtt.host is None
    assert "names no MQTT broker" in done.stderr


def test_a_model_is_installed_and_a_bad_one_is_not(start, tmp_path):
    (tmp_path / "good.tflite").write_bytes(TINY_MODEL.read_bytes())
    done = start({"device_name": "Home", "model": "good.tflite"})
    settings(done)
    assert "tiny 1 works and is in use now" in done.stdout
    (tmp_path / "bad.tflite").write_bytes(b"bad")
    done = start({"device_name": "Home", "model": "bad.tflite"})
    settings(done)
    assert "not a TFLite model" in done.stderr
    index = json.loads((tmp_path / "models/index.json").read_text())
    assert index["current"].startswith("tiny-1-")
    done = start({"device_name": "Home", "model": "nano"})
    assert "edge-ser-nano" in done.stdout
    done = start({"device_name": "Home"})
    assert "edge-ser-standard" in done.stdout
