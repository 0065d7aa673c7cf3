"""Install, check, list and roll back models.

Examples:
  edge-ser model check new.tflite      would it be installed? nothing is changed
  sudo edge-ser model install new.tflite
  sudo edge-ser model install nano     a smaller one, which ships with the package
  sudo edge-ser model rollback         back to the former one; again: forth
  sudo edge-ser model rollback --bundled
  edge-ser model list

A model is installed if its signature (where a public key is configured), its card and a
self-test are good; the listener's service then reads it at once. It is used wherever
neither --model, EDGE_SER_MODEL nor the settings name another. Installed models lie in
/var/lib/edge-ser-models, or in the folder that EDGE_SER_MODEL_FOLDER names.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys

from edge_ser import bundle as bundles
from edge_ser import config as configs
from edge_ser import signing
from edge_ser.cli import engine
from edge_ser.errors import BundleError, EdgeSerError
from edge_ser.store import DEFAULT_FOLDER, Store

_UNIT = "edge-ser.service"
# Far longer than the slowest machine that could listen needs.
_PATIENCE_S = 180.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own arguments: an action, and the action's."""
    actions = parser.add_subparsers(
        metavar="ACTION", required=True, parser_class=type(parser), dest="action"
    )
    install = actions.add_parser("install", help="check a model, and put it in use")
    check = actions.add_parser("check", help="only check it")
    rollback = actions.add_parser("rollback", help="put the former model in use again")
    listing = actions.add_parser(
        "list", help="the model in use (*), and what else there is"
    )
    for action in (install, check):
        action.add_argument("file", metavar="FILE", help=bundles.NAMEABLE)
    rollback.add_argument(
        "--bundled", action="store_true", help="the one that ships with the package"
    )
    for action in (install, rollback):
        action.add_argument(
            "--no-reload", action="store_true", help=f"leave {_UNIT} alone"
        )
    for action in (check, listing):
        action.add_argument(
            "--json", action="store_true", help="one JSON object a line"
        )
    for action in (install, check, rollback, listing):
        engine.add_public_key(action)
        action.add_argument("--config", metavar="PATH", help="the listener's settings")
        action.add_argument(
            "--debug",
            action="store_true",
            default=argparse.SUPPRESS,
            help="show the traceback of an error",
        )


def run(arguments: argparse.Namespace) -> int:
    """Do the action."""
    keys = arguments.public_keys
    flags = {"public_keys": keys and tuple(keys)}
    config = configs.load(arguments.config, os.environ, flags)
    actions = {
        "install": _install,
        "check": _check,
        "rollback": _roll_back,
        "list": _list,
    }
    return actions[arguments.action](arguments, config)


def _check(arguments: argparse.Namespace, config: configs.Config) -> int:
    from edge_ser import selftest

    with engine.without_chatter():
        seen = selftest.check(config, arguments.file)
    title = bundles.read(arguments.file).card.title
    if arguments.json:
        print(json.dumps({"model": title, "seen": seen}))
    else:
        print(f"{title} works: {'; '.join(seen)}")
    return 0


def _install(arguments: argparse.Namespace, config: configs.Config) -> int:
    data = bundles.read_bytes(arguments.file)
    trusted = signing.load_public_keys(config.public_keys)
    card = bundles.unpack(data, arguments.file, public_keys=trusted).card
    store = Store()
    is_new = store.install(data, lambda path: _test_apart(path, arguments))
    state = "is in use now" if is_new else "was in use already"
    signed = "" if trusted else " (signature not asked for: no public key is set)"
    print(f"{card.title} works and {state}{signed}")
    _tell_listener(store, config, reload=is_new and not arguments.no_reload)
    return 0


def _roll_back(arguments: argparse.Namespace, config: configs.Config) -> int:
    store = Store()
    path = store.roll_back(
        to_bundled=arguments.bundled,
        public_keys=signing.load_public_keys(config.public_keys),
    )
    kind = "bundled" if path is None else "former"
    print(f"the {kind} {bundles.read(path).card.title} is in use now")
    _tell_listener(store, config, reload=not arguments.no_reload)
    return 0


def _test_apart(path: pathlib.Path, arguments: argparse.Namespace) -> None:
    """Check in another process: a bad model may crash the interpreter, or never end.

    Raises:
        BundleError: it is refused, with the reason.
    """
    # -P: root may call it in a folder where others put modules.
    command = [sys.executable, "-P", "-m", "edge_ser", "model", "check", str(path)]
    command += ["--json"]
    command += ["--config", arguments.config] if arguments.config else []
    for key in arguments.public_keys or ():
        command += ["--public-key", key]
    name = arguments.file
    # However this process found the package, the other one finds the same.
    paths = [path or os.getcwd() for path in sys.path]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    try:
        done = subprocess.run(  # noqa: S603 (this very program)
            command,
            env=environment,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PATIENCE_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise BundleError(
            f"{name}: refused: its self-test did not end within {_PATIENCE_S:g} s"
        ) from error
    if done.returncode < 0:
        crash = signal.Signals(-done.returncode).name
        raise BundleError(f"{name}: refused: it crashes the interpreter ({crash})")
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no reason was given"]
        reason = lines[-1].removeprefix("edge-ser: ").removeprefix(f"{path}: ")
        refusal = f"{name}: refused: {reason}"
        raise (BundleError if done.returncode == 3 else EdgeSerError)(refusal)


def _tell_listener(store: Store, config: configs.Config, *, reload: bool) -> None:
    """Have the service read the change, and say so if the settings hide it."""
    if config.model is not None:
        print(
            f"note: the settings name the model {config.model}, which comes before "
            "the installed one; take that line out to use it"
        )
    elif reload and store.folder == DEFAULT_FOLDER:
        systemctl = shutil.which("systemctl")
        if systemctl and _systemctl(systemctl, "is-active", "--quiet"):
            done = _systemctl(systemctl, "reload")
            print(
                f"{_UNIT} reads it now"
                if done
                else f"{_UNIT} could not be reloaded: systemctl restart edge-ser"
            )


def _systemctl(program: str, *order: str) -> bool:
    done = subprocess.run(  # noqa: S603 (fixed arguments)
        [program, *order, _UNIT], capture_output=True, check=False
    )
    return done.returncode == 0


def _list(arguments: argparse.Namespace, config: configs.Config) -> int:
    trusted = signing.load_public_keys(config.public_keys)
    roles = _roles(Store(), config)
    used = next(role for role in ("settings", "current", "bundled") if role in roles)
    for role, path in roles.items():
        mark = "*" if role == used else " "
        values: dict[str, object] = {"role": role, "path": str(path)}
        values["in_use"] = role == used
        try:
            bundle = bundles.read(path, public_keys=trusted)
            changed = datetime.datetime.fromtimestamp(path.stat().st_mtime)
            values |= {
                "name": bundle.card.name,
                "version": bundle.card.version,
                "quantization": bundle.card.quantization,
                "sha256": bundle.sha256,
                "since": changed.isoformat(" ", "minutes"),
            }
        except BundleError as error:
            values["error"] = str(error)
        if arguments.json:
            print(json.dumps(values))
        elif "error" in values:
            print(f"{mark} {role:8}  refused: {values['error']}")
        else:
            title = f"{values['name']} {values['version']}"
            print(f"{mark} {role:8}  {title:26}  {values['quantization']:12}  {path}")
    return 0


def _roles(store: Store, config: configs.Config) -> dict[str, pathlib.Path]:
    """Files by what they are to the listener."""
    bundled = bundles.default_path()
    current = store.current()
    roles: dict[str, pathlib.Path] = {}
    if config.model is not None:
        roles["settings"] = pathlib.Path(bundles.located(config.model))
    if current is not None:
        roles["current"] = current
    try:
        former = store.former()
    except BundleError:
        former = None
    if former is not None:
        roles["former"] = former
    roles["bundled"] = bundled
    shipped = {name: pathlib.Path(file) for name, file in bundles.SHIPPED.items()}
    return roles | {name: file for name, file in shipped.items() if file != bundled}
