"""Work in a process of its own: TensorFlow's converter may crash without a word."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import pickle
import re
import sys
import tempfile
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from conversion.errors import ConversionError, WorkDiedError
from edge_ser.errors import EdgeSerError

T = TypeVar("T")

_GOODBYE_S = 5.0
"""For a child that has answered to let go of semaphores, or Python warns of them."""

_NO_CAUSE = re.compile(
    r"[IW]\d{4} |[\d:. -]+: [IW] |WARNING: All log messages before absl"
)
"""Lines of TensorFlow's log that tell nothing of why it died."""


def alone(
    what: str, function: Callable[..., T], *arguments: Any, limit_s: float | None = None
) -> T:
    """Call a function in a fresh process and return what it returns.

    Args:
        what: what errors call the work.
        function: found by its module and name; it, its arguments and its result are
            pickled.
        limit_s: after so long the process is killed; None waits for ever.

    Raises:
        EdgeSerError: raised by the function.
        WorkDiedError: the process died.
        ConversionError: any other exception, in one line; or it took longer than
            `limit_s`.
    """
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    # TensorFlow writes pages to the file descriptor, most of no consequence.
    with tempfile.NamedTemporaryFile(prefix="edge-ser-") as chatter:
        # Unpickled in the child once its errors are caught: that may import much.
        work = pickle.dumps((function, arguments))
        process = context.Process(
            target=_call, args=(there, work, chatter.name), daemon=True
        )
        process.start()
        there.close()
        try:
            if not here.poll(limit_s):
                raise ConversionError(f"{what} took longer than {limit_s:g} s")
            answer: tuple[str, Any] = here.recv()
            process.join(_GOODBYE_S)
        except EOFError:
            process.join()
            words = chatter.read().decode(errors="replace")
            raise WorkDiedError(f"{what} {_death(process.exitcode, words)}") from None
        finally:
            process.kill()
            process.join()
            here.close()
    kind, value = answer
    if kind == "result":
        result: T = value
        return result
    if kind == "error" and isinstance(value, EdgeSerError):
        raise value
    raise ConversionError(f"{what} failed: {value}")


def _death(code: int | None, words: str) -> str:
    """How a process ended, and the last that it said."""
    if code is None or code >= 0:
        text = f"ended without an answer (exit code {code})"
    else:
        text = f"died (signal {-code})"
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    lines = [line for line in lines if not _NO_CAUSE.match(line)]
    return f"{text}: {lines[-1][:200]}" if lines else text


def _call(
    there: multiprocessing.connection.Connection, work: bytes, chatter: str
) -> None:
    """What runs in the child process."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    sys.stderr.flush()
    os.dup2(os.open(chatter, os.O_WRONLY | os.O_APPEND), 2)
    try:
        function, arguments = pickle.loads(work)  # noqa: S301 (from its own parent)
        answer = ("result", function(*arguments))
    except EdgeSerError as error:
        answer = ("error", error)
    except MemoryError:
        answer = ("other", "out of memory")
    except Exception as error:
        answer = ("other", _reason(error))
    there.send(answer)
    there.close()


def _end_with_parent() -> None:
    """A parent that is killed cannot end its child, which would compute for nobody."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _reason(error: Exception) -> str:
    """The one line of a library's error that says the most."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if "error:" in line]
    text = (telling or lines or ["no message"])[0]
    return f"{type(error).__name__}: {text[:300]}"
