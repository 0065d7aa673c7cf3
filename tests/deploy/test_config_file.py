"""The settings file that is installed names every setting, with its default."""

from __future__ import annotations

import dataclasses
import pathlib
import tomllib

from edge_ser import config

FILE = pathlib.Path(__file__).parents[2] / "deploy/config.toml"
# What has no default, or one that depends on the machine: the file shows an example.
EXAMPLES = {
    "model",
    "public_keys",
    "device_name",
    "engine.interpreter",
    "engine.delegate",
    "source.microphone",
    "source.file",
    "source.pipe",
    "json_file.path",
    "mqtt.host",
    "mqtt.port",
    "mqtt.user",
    "mqtt.password",
    "mqtt.password_file",
    "mqtt.ca_file",
    "mqtt.cert_file",
    "mqtt.key_file",
    "socket.path",
    "command.arguments",
}


def dotted(tree, prefix=""):
    flat = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            flat |= dotted(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def shown():
    """The file with every setting's comment sign taken away."""
    lines = FILE.read_text().splitlines()
    text = "\n".join(
        line[2:] if line.startswith("# ") and " = " in line else line for line in lines
    )
    return dotted(tomllib.loads(text))


def test_as_it_is_it_changes_nothing():
    assert config.load(FILE, {}, {}) == config.Config()


def test_it_shows_every_setting_with_its_default():
    defaults = dotted(dataclasses.asdict(config.Config()))
    found = shown()
    assert set(found) == set(defaults)
    for name in set(found) - EXAMPLES:
        assert found[name] == defaults[name], name


def test_the_examples_are_valid(tmp_path):
    for name in sorted(EXAMPLES):
        value = shown()[name]
        table, _, key = name.rpartition(".")
        literal = str(value).replace("'", '"')
        if isinstance(value, str):
            literal = f'"{value}"'
        file = tmp_path / "one.toml"
        extra = ""  # what it makes no sense without
        if name.endswith(("ca_file", "cert_file", "key_file")):
            extra = "tls = true\n"
        elif name.endswith(("password", "password_file")):
            extra = 'user = "ear"\n'
        file.write_text(
            (f"[{table}]\n" if table else "") + f"{key} = {literal}\n" + extra
        )
        config.load(file, {}, {})
