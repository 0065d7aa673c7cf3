"""The command line: one module a verb.

Exit codes: 0 done, 1 failed while running, 2 wrong usage or config, 3 bad model, 4 bad
audio input, 5 no usable microphone.
"""

from __future__ import annotations

import argparse
import os
import sys
import textwrap
import traceback
from collections.abc import Sequence
from typing import NoReturn

from edge_ser.errors import ConfigError, EdgeSerError

_VERBS = ("classify", "listen", "mute", "devices", "info", "doctor")


class Parser(argparse.ArgumentParser):
    """An argument parser that answers wrong usage in one line."""

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the whole usage."""
        raise ConfigError(f"{message}; see {self.prog} --help")


def _parser() -> Parser:
    import importlib

    from edge_ser import __version__

    parser = Parser(
        prog="edge-ser",
        description="Speech emotion recognition on the device.",
        epilog=textwrap.dedent(
            """\
            Examples:
              edge-ser classify clip.wav          the emotion of a recording
              edge-ser listen                     events from the default microphone
              edge-ser listen --file clip.wav     events from a recording
            """
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--version", action="version", version=f"edge-ser {__version__}"
    )
    verbs = parser.add_subparsers(metavar="VERB", required=True, parser_class=Parser)
    for verb in _VERBS:
        module = importlib.import_module(f"edge_ser.cli.{verb}")
        summary, _, rest = (module.__doc__ or "").partition("\n")
        sub = verbs.add_parser(
            verb,
            help=summary.rstrip("."),
            description=summary,
            epilog=rest.strip("\n"),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(sub)
        sub.add_argument(
            "--debug", action="store_true", help="show the traceback of an error"
        )
        sub.set_defaults(run=module.run)
    return parser


def report(message: str) -> None:
    """A one-line error on standard error."""
    print("edge-ser:", " ".join(message.split("\n")), file=sys.stderr, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a verb; returns the exit code."""
    debug = "--debug" in (sys.argv[1:] if argv is None else argv)
    try:
        arguments = _parser().parse_args(argv)
        code: int = arguments.run(arguments)
        sys.stdout.flush()
        return code
    except EdgeSerError as error:
        if debug:
            traceback.print_exc()
        else:
            report(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader (head, less) has gone; Python would complain again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        # A fault of edge-ser itself: still one line, as every other error.
        if debug:
            traceback.print_exc()
        else:
            report(
                f"internal error: {type(error).__name__}: {error}; "
                "run it again with --debug for a traceback"
            )
        return 1
