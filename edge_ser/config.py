"""Settings of the listener: a TOML file, then EDGE_SER_* variables, then flags."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import tomllib
import typing
from collections.abc import Iterable, Mapping
from typing import Any

from edge_ser.adaptation import AdaptationSettings
from edge_ser.decision import DecisionSettings
from edge_ser.errors import ConfigError
from edge_ser.resample import HIGHEST_RATE_HZ, LOWEST_RATE_HZ
from edge_ser.sinks.mqtt import MqttSettings
from edge_ser.vad import GateSettings

DEFAULT_PATH = pathlib.Path("/etc/edge-ser/config.toml")
_PREFIX = "EDGE_SER_"
_OUTPUTS = ("text", "json", "none")
_SOURCES = ("microphone", "file", "pipe")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SourceSettings:
    """Where sound comes from; at most one of the three."""

    microphone: str | None = None
    """Index, or words of the name; none of the three: the default microphone."""
    file: str | None = None
    pipe: str | None = None
    """A FIFO, a Unix socket, or ``-`` for standard input: raw s16le."""
    rate_hz: int = 16000
    """Of the pipe."""
    channels: int = 1
    """Of the pipe."""
    real_time: bool = False
    """Play the file at the pace of time."""
    wait: bool = False
    """Start without a microphone, and wait for one."""
    hang_s: float = 10.0
    """A sound system that does not answer for so long makes the process end."""

    def __post_init__(self) -> None:
        given = [name for name in _SOURCES if getattr(self, name)]
        if len(given) > 1:
            raise ConfigError(f"{' and '.join(given)} are both given; choose one")
        if not LOWEST_RATE_HZ <= self.rate_hz <= HIGHEST_RATE_HZ:
            raise ConfigError(
                f"rate_hz is {self.rate_hz}; valid: {LOWEST_RATE_HZ} to "
                f"{HIGHEST_RATE_HZ}"
            )
        if not 1 <= self.channels <= 64:
            raise ConfigError(f"channels is {self.channels}; valid: 1 to 64")
        if not 1 <= self.hang_s <= 3600:
            raise ConfigError(f"hang_s is {self.hang_s}; valid: 1 to 3600 seconds")


@dataclasses.dataclass(frozen=True, kw_only=True)
class EngineSettings:
    """What runs the model; `Interpreter` checks the values."""

    interpreter: str | None = None
    """A TFLite runtime by name; none: the first that works."""
    threads: int = 1
    delegate: str | None = None
    """``edgetpu``, or the path of a delegate's library."""
    portable: bool = False
    """Kernels whose results are the same on every processor; far slower."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class JsonFileSettings:
    """Events as JSON lines in a file."""

    path: str | None = None
    max_bytes: int = 1 << 20
    """A file that would grow beyond it is put aside as PATH.1, PATH.2..."""
    keep: int = 3
    """How many files are put aside."""

    def __post_init__(self) -> None:
        if self.max_bytes < 1024:
            raise ConfigError(f"max_bytes is {self.max_bytes}; valid: 1024 and more")
        if not 0 <= self.keep <= 1000:
            raise ConfigError(f"keep is {self.keep}; valid: 0 to 1000")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SocketSettings:
    """Events and orders over a Unix socket."""

    path: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class CommandSettings:
    """A program run for each event."""

    arguments: tuple[str, ...] = ()
    """The program and its arguments; no shell."""
    timeout_s: float = 10.0

    def __post_init__(self) -> None:
        if not 0 < self.timeout_s <= 3600:
            raise ConfigError(f"timeout_s is {self.timeout_s}; valid: up to 3600")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Everything that `edge-ser listen` can be told."""

    model: str | None = None
    """Path of a bundle; none: the installed one, or that of the package."""
    public_keys: tuple[str, ...] = ()
    """PEM files; if there are any, the model must be signed by one of them."""
    device_name: str = dataclasses.field(default_factory=lambda: os.uname().nodename)
    """What events call this listener."""
    output: str = "text"
    """On standard output: ``text``, ``json`` or ``none``."""
    engine: EngineSettings = dataclasses.field(default_factory=EngineSettings)
    source: SourceSettings = dataclasses.field(default_factory=SourceSettings)
    gate: GateSettings = dataclasses.field(default_factory=GateSettings)
    decision: DecisionSettings = dataclasses.field(default_factory=DecisionSettings)
    adaptation: AdaptationSettings = dataclasses.field(
        default_factory=AdaptationSettings
    )
    json_file: JsonFileSettings = dataclasses.field(default_factory=JsonFileSettings)
    mqtt: MqttSettings = dataclasses.field(default_factory=MqttSettings)
    socket: SocketSettings = dataclasses.field(default_factory=SocketSettings)
    command: CommandSettings = dataclasses.field(default_factory=CommandSettings)

    def __post_init__(self) -> None:
        if self.output not in _OUTPUTS:
            raise ConfigError(
                f"output is {self.output!r}; valid: {', '.join(_OUTPUTS)}"
            )
        if not self.device_name.strip():
            raise ConfigError("device_name is empty; give this listener a name")
        if not self.device_name.isprintable():
            raise ConfigError(
                f"device_name is {self.device_name!r}; valid: printable characters"
            )


def load(
    path: str | os.PathLike[str] | None,
    environment: Mapping[str, str],
    flags: Mapping[str, Any],
) -> Config:
    """The settings of a file, overridden by the environment, overridden by flags.

    Args:
        path: TOML; None is `DEFAULT_PATH` if it exists.
        environment: ``EDGE_SER_`` and the key in capitals, its table before it:
            ``EDGE_SER_SOURCE_MICROPHONE=usb``. Empty is as good as not set for a
            text that may be left out.
        flags: by dotted key (``source.microphone``); None leaves a setting alone.

    A source given by one of the three takes the place of any source below it.

    Raises:
        ConfigError: an unreadable file, an unknown key, a wrong type or value.
    """
    tree = _read_file(path)
    defaults = _keys(Config)
    tree = _check(tree, Config, "", str(path or DEFAULT_PATH))
    variables: dict[str, Any] = {}
    for name, text in environment.items():
        if name.startswith(_PREFIX):
            dotted = _variable_key(name, defaults)
            if dotted is None:
                continue
            if not text and defaults[dotted] == str | None:
                continue  # how an environment file unsets a variable
            variables[dotted] = _parse(text, defaults[dotted], name)
    _override(tree, variables)
    given = {dotted: value for dotted, value in flags.items() if value is not None}
    for dotted, value in given.items():
        if value == "":
            raise ConfigError(f"{dotted} is empty; give a value, or leave it out")
    _override(tree, given)
    config = _build(Config, tree)
    assert isinstance(config, Config)
    return config


def _override(tree: dict[str, Any], layer: Mapping[str, Any]) -> None:
    """Put a layer of settings, by dotted key, over those below it."""
    if any(f"source.{name}" in layer for name in _SOURCES):
        for name in _SOURCES:
            tree.get("source", {}).pop(name, None)
    for dotted, value in layer.items():
        _set(tree, dotted, value)


def _read_file(path: str | os.PathLike[str] | None) -> dict[str, Any]:
    file = pathlib.Path(path) if path is not None else DEFAULT_PATH
    if path is None and not file.exists():
        return {}
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: not valid TOML: {error}") from error
    except RecursionError as error:
        raise ConfigError(f"{file}: not valid TOML: nested too deeply") from error


def _tables(kind: Any) -> dict[str, tuple[Any, bool]]:
    """Fields of a settings class: type, and whether it is a table."""
    hints = typing.get_type_hints(kind)
    return {
        field.name: (hints[field.name], dataclasses.is_dataclass(hints[field.name]))
        for field in dataclasses.fields(kind)
    }


def _keys(kind: Any, prefix: str = "") -> dict[str, Any]:
    """Every dotted key with its type."""
    keys: dict[str, Any] = {}
    for name, (hint, is_table) in _tables(kind).items():
        if is_table:
            keys.update(_keys(hint, f"{prefix}{name}."))
        else:
            keys[prefix + name] = hint
    return keys


def _close_matches(name: str, valid: Iterable[str], cutoff: float) -> list[str]:
    import difflib  # only for errors

    return difflib.get_close_matches(name, valid, 1, cutoff)


def _nearest(name: str, valid: list[str]) -> str:
    close = _close_matches(name, valid, 0.5)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"valid: {', '.join(valid)}"


def _check(tree: dict[str, Any], kind: Any, prefix: str, file: str) -> dict[str, Any]:
    """A copy of the tree whose keys are known and whose values have their types."""
    fields = _tables(kind)
    checked = {}
    for name, value in tree.items():
        if name not in fields:
            # A key in the wrong table is as likely as a typing error.
            everywhere = [key for key in _keys(Config) if key.split(".")[-1] == name]
            hint = (
                f"did you mean {everywhere[0]!r}?"
                if everywhere
                else _nearest(prefix + name, [prefix + key for key in fields])
            )
            raise ConfigError(f"{file}: unknown key {prefix + name!r}; {hint}")
        hint_type, is_table = fields[name]
        if is_table:
            if not isinstance(value, dict):
                raise ConfigError(f"{file}: {prefix + name} is a table: [{name}]")
            checked[name] = _check(value, hint_type, f"{prefix}{name}.", file)
        else:
            checked[name] = _typed(value, hint_type, f"{file}: {prefix + name}")
    return checked


def _typed(value: Any, hint: Any, what: str) -> Any:
    kinds = [kind for kind in typing.get_args(hint) or (hint,)]
    if value == "" and type(None) in kinds:
        raise ConfigError(f"{what} is empty; give a value, or take the line out")
    if typing.get_origin(hint) is tuple:
        if not isinstance(value, list) or not all(
            isinstance(each, str) for each in value
        ):
            raise ConfigError(f"{what} is {value!r}; valid: a list of strings")
        return tuple(value)
    if float in kinds and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if str in kinds and isinstance(value, int) and not isinstance(value, bool):
        return str(value)  # microphone = 3
    if not isinstance(value, tuple(kinds)) or (
        isinstance(value, bool) and bool not in kinds
    ):
        names = " or ".join(
            {str: "text", int: "a whole number", float: "a number", bool: "true/false"}[
                kind
            ]
            for kind in kinds
            if kind is not type(None)
        )
        raise ConfigError(f"{what} is {value!r}; valid: {names}")
    return value


def _variable_key(name: str, keys: Mapping[str, Any]) -> str | None:
    by_variable = {key.replace(".", "_").upper(): key for key in keys}
    rest = name.removeprefix(_PREFIX)
    if rest in by_variable:
        return by_variable[rest]
    # Other programs may use the prefix too; what is nearly right is an error.
    close = _without_table(rest, by_variable)
    close = close or _close_matches(rest, by_variable, 0.75)
    if close:
        likely = " or ".join(_PREFIX + each for each in close)
        raise ConfigError(f"unknown variable {name}; did you mean {likely}?")
    return None


def _without_table(rest: str, by_variable: Mapping[str, str]) -> list[str]:
    """Variables whose table was left out, or a unit or the like at the end."""
    ends = {each: key.split(".")[-1].upper() for each, key in by_variable.items()}
    found = [each for each, end in ends.items() if end == rest]
    found = found or [each for each, end in ends.items() if end.startswith(rest + "_")]
    if not found and "_" in rest:
        found = [each for each in by_variable if each.endswith("_" + rest)]
    return found


def _parse(text: str, hint: Any, name: str) -> Any:
    kinds = typing.get_args(hint) or (hint,)
    if typing.get_origin(hint) is tuple:
        return tuple(text.split())
    if bool in kinds:
        words = {"1": True, "true": True, "yes": True, "on": True}
        words |= {"0": False, "false": False, "no": False, "off": False}
        if text.lower() not in words:
            raise ConfigError(f"{name} is {text!r}; valid: true or false")
        return words[text.lower()]
    for kind, valid in ((int, "a whole number"), (float, "a number")):
        if kind in kinds:
            try:
                return kind(text)
            except ValueError as error:
                raise ConfigError(f"{name} is {text!r}; valid: {valid}") from error
    return text


def _set(tree: dict[str, Any], dotted: str, value: Any) -> None:
    *tables, name = dotted.split(".")
    for table in tables:
        tree = tree.setdefault(table, {})
    tree[name] = value


def _build(kind: Any, tree: dict[str, Any], prefix: str = "") -> Any:
    values = {
        name: _build(hint, tree[name], f"{prefix}{name}.") if is_table else tree[name]
        for name, (hint, is_table) in _tables(kind).items()
        if name in tree
    }
    try:
        return kind(**values)
    except ConfigError as error:
        # A class of settings knows the names of its own, and not of which table it is.
        if prefix and str(error).split()[0] in _tables(kind):
            raise ConfigError(f"{prefix}{error}") from error
        raise
