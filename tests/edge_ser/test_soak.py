"""Memory of a long stream; `make soak` runs ten hours of it."""

from __future__ import annotations

import subprocess
import sys


def test_half_an_hour_of_audio_keeps_memory_flat(repository, model):
    script = repository / "tests" / "soak_stream.py"
    done = subprocess.run(
        [sys.executable, script, "--hours", "0.5", "--model", model],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
