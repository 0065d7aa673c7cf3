"""Mute a running listener, unmute it, or ask how it is.

Examples:
  edge-ser mute on
  edge-ser mute off
  edge-ser mute status --socket /run/edge-ser/socket

The installed service serves /run/edge-ser/socket, to root alone: sudo edge-ser mute on.
Another listener must serve a socket (`path` in the table [socket] of its settings).
Without one, SIGUSR1 mutes and unmutes.
"""

from __future__ import annotations

import argparse
import json
import os
import socket

from edge_ser import config as configs
from edge_ser.errors import EdgeSerError

_ORDERS = {"on": "mute", "off": "unmute", "status": "status"}
_PATIENCE_S = 5.0
_OF_THE_SERVICE = "/run/edge-ser/socket"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's own arguments."""
    parser.add_argument("state", choices=sorted(_ORDERS), help="what to do")
    parser.add_argument("--socket", metavar="PATH", help="the listener's socket")
    parser.add_argument("--config", metavar="PATH", help="the listener's settings")


def run(arguments: argparse.Namespace) -> int:
    """Give the order and print the answer."""
    flags = {"socket.path": arguments.socket}
    path = configs.load(arguments.config, os.environ, flags).socket.path
    path = path or _OF_THE_SERVICE
    print(_ask(path, _ORDERS[arguments.state]))
    return 0


def _ask(path: str, order: str) -> str:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(_PATIENCE_S)
        try:
            connection.connect(path)
            connection.sendall(order.encode() + b"\n")
            with connection.makefile("r", encoding="utf-8") as lines:
                for line in lines:
                    answer = json.loads(line)
                    # Events come over the same socket.
                    if "status" in answer:
                        return str(answer["status"])
        except PermissionError as error:
            raise EdgeSerError(
                f"{path}: only the listener's own user and root may ask it; try sudo"
            ) from error
        except (OSError, ValueError) as error:
            raise EdgeSerError(
                f"{path}: no listener answers ({error}); is it running? --socket names "
                "the socket of another"
            ) from error
    raise EdgeSerError(f"{path}: the listener ended without an answer")
