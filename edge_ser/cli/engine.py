"""The options that say which model runs, and on what."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator

from edge_ser import store
from edge_ser.bundle import NAMEABLE
from edge_ser.classifier import Classifier
from edge_ser.interpreter import DELEGATES, RUNTIMES


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``--model`` and how it is run; what is not given is None."""
    group = parser.add_argument_group("model")
    group.add_argument(
        "--model",
        metavar="BUNDLE",
        help=f"{NAMEABLE} (default: the one in use)",
    )
    add_public_key(group)
    group.add_argument(
        "--interpreter",
        metavar="NAME",
        help=f"{', '.join(RUNTIMES)} (default: the first that works)",
    )
    group.add_argument(
        "--threads", type=int, metavar="N", help="of the interpreter (1)"
    )
    group.add_argument(
        "--delegate",
        metavar="NAME",
        help=f"{', '.join(DELEGATES)}, or the path of a delegate's library",
    )
    group.add_argument(
        "--portable",
        action="store_true",
        default=None,
        help="kernels whose results are the same on every processor; far slower",
    )


def add_public_key(group: argparse._ActionsContainer) -> None:
    """``--public-key``, which may be given several times."""
    group.add_argument(
        "--public-key",
        metavar="FILE",
        action="append",
        dest="public_keys",
        help="take only a bundle signed by this key (or another one given so)",
    )


def named_model(option: str | None) -> str | None:
    """The model that an option names, or else EDGE_SER_MODEL."""
    return option or os.environ.get("EDGE_SER_MODEL") or None


def load(arguments: argparse.Namespace) -> Classifier:
    """The classifier that the options ask for.

    Raises:
        BundleError, ConfigError, InterpreterError: see `Classifier.load`.
    """
    with without_chatter():
        return store.load(
            named_model(arguments.model),
            runtime=arguments.interpreter,
            threads=1 if arguments.threads is None else arguments.threads,
            delegate=arguments.delegate,
            portable=bool(arguments.portable),
            public_keys=arguments.public_keys or (),
        )


@contextlib.contextmanager
def without_chatter() -> Iterator[None]:
    """Keep a runtime's lines of ``INFO:`` off standard error; the others come later.

    The runtimes write to the file descriptor when they make their first interpreter, so
    only there can they be caught; it belongs to the process, which is why the library
    leaves it alone.
    """
    try:
        kept = tempfile.TemporaryFile()  # noqa: SIM115
    except OSError:  # nowhere to write, as on a read-only root: the lines come through
        yield
        return
    sys.stderr.flush()
    with kept:
        real = os.dup(2)
        os.dup2(kept.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(real, 2)
            os.close(real)
            kept.seek(0)
            for line in kept:
                if not line.startswith(b"INFO: "):
                    os.write(2, line)
