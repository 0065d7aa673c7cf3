"""The command line: one verb a module, with ``add_arguments`` and ``run``.

A verb is any module of this package that defines both; its docstring's first line is
its help. Only the module of the verb that was asked for is imported.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import os
import pathlib
import signal
import sys

from benchmarks import output
from edge_ser.errors import EdgeSerError


def verbs() -> dict[str, str]:
    """Verbs with their one-line help."""
    found = {}
    for file in sorted(pathlib.Path(__file__).parent.glob("[a-z]*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        names = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        if {"add_arguments", "run"} <= names:
            summary = (ast.get_docstring(tree) or "").splitlines()
            found[file.stem.replace("_", "-")] = summary[0] if summary else ""
    return found


def main(argv: list[str] | None = None) -> int:
    """Run a verb; the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    known = verbs()
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Measure edge-ser and its peers."
    )
    commands = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name, summary in known.items():
        command = commands.add_parser(
            name, help=summary, description=summary, allow_abbrev=False
        )
        if argv and argv[0] == name:
            try:
                module = importlib.import_module(f"benchmarks.{name.replace('-', '_')}")
            except ModuleNotFoundError as error:
                return _fail(f"{name} needs {error.name}; `make test` sets it up")
            module.add_arguments(command)
            command.set_defaults(run=module.run)
    arguments = parser.parse_args(argv)
    try:
        output.check(getattr(arguments, "json", None))
        return int(arguments.run(arguments))
    except BrokenPipeError:
        # The reader of our output left; Python would complain again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except EdgeSerError as error:
        return _fail(str(error), error.exit_code)
    except OSError as error:  # a file or folder: the message names it
        return _fail(str(error))
    except KeyboardInterrupt:
        return _fail("interrupted", 128 + signal.SIGINT)


def _fail(message: str, code: int = 1) -> int:
    print(f"benchmarks: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
