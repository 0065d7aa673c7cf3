"""Starts the listener with the add-on's options and Home Assistant's own broker.

Home Assistant OS gives the options as /data/options.json and the broker through the
Supervisor: https://developers.home-assistant.io/docs/add-ons/communication
"""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

OPTIONS = pathlib.Path("/data/options.json")
FILES = pathlib.Path("/config")
SUPERVISOR = "http://supervisor"


def broker(supervisor: str, token: str) -> dict[str, Any]:
    """Home Assistant's broker; empty if it has none."""
    request = urllib.request.Request(  # noqa: S310 (the Supervisor's own address)
        f"{supervisor}/services/mqtt", headers={"Authorization": f"Bearer {token}"}
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            data: dict[str, Any] = json.load(answer)["data"]
    except (OSError, ValueError, KeyError) as error:
        print(f"run.py: Home Assistant names no MQTT broker ({error})", file=sys.stderr)
        return {}
    return {
        "mqtt_host": data["host"],
        "mqtt_port": data["port"],
        "mqtt_user": data.get("username"),
        "mqtt_password": data.get("password"),
        "mqtt_tls": data.get("ssl"),
    }


def variables(options: Mapping[str, Any], files: pathlib.Path) -> dict[str, str]:
    """The listener's settings as its environment."""
    named = {
        "EDGE_SER_DEVICE_NAME": options.get("device_name"),
        "EDGE_SER_SOURCE_MICROPHONE": options.get("microphone"),
        "EDGE_SER_MQTT_HOST": options.get("mqtt_host"),
        "EDGE_SER_MQTT_PORT": options.get("mqtt_port"),
        "EDGE_SER_MQTT_USER": options.get("mqtt_user"),
        "EDGE_SER_MQTT_PASSWORD": options.get("mqtt_password"),
        "EDGE_SER_MQTT_TLS": "true" if options.get("mqtt_tls") else None,
    }
    if options.get("public_key"):
        named["EDGE_SER_PUBLIC_KEYS"] = files / options["public_key"]
    return {name: str(value) for name, value in named.items() if value}


def main() -> None:
    """Become the listener."""
    options = json.loads(OPTIONS.read_text(encoding="utf-8"))
    if not options.get("mqtt_host"):
        token = os.environ.get("SUPERVISOR_TOKEN", "")
        options |= broker(SUPERVISOR, token)
    environment = os.environ | variables(options, FILES)
    # A file's name, or that of a model that ships; emptied, it takes back a former one.
    # A refused model is told in the log; the one before it goes on.
    name = options.get("model") or "standard"
    file = str(FILES / name) if name.endswith(".tflite") else name
    order = ["edge-ser", "model", "install", file]
    subprocess.run(order, env=environment, check=False)  # noqa: S603
    order = ["edge-ser", "listen", "--wait", "--json"]
    os.execvpe(order[0], order, environment)  # noqa: S606


if __name__ == "__main__":
    main()
