import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

pytest.importorskip("tensorflow", reason="needs TensorFlow, so Python 3.11 or 3.12")

from training import workers
from training.errors import RunError

ROOT = pathlib.Path(__file__).parents[2]
COMMAND = """
import time

from training import workers


def tell_and_wait():
    import os

    print(os.getpid(), flush=True)
    time.sleep(600)


if __name__ == "__main__":
    with workers.pool(1) as pool:
        pool.submit(tell_and_wait).result()
"""


def alive(pid):
    try:
        state = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2]
    except FileNotFoundError:
        return False
    return state.split()[0] != "Z"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_killed_command_takes_its_trainings_with_it(tmp_path, number):
    script = tmp_path / "command.py"
    script.write_text(COMMAND)
    with subprocess.Popen(
        [sys.executable, script],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # the resource tracker complains, rightly
        text=True,
    ) as command:
        worker = int(command.stdout.readline())
        assert alive(worker)
        command.send_signal(number)
    deadline = time.monotonic() + 60
    while alive(worker) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not alive(worker)


def _work(folder, number):
    (folder / str(number)).touch()
    if number == 0:
        raise RunError("fold 0 has no clip")


def _end():
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_worker_that_is_killed_is_told_in_a_line():
    with workers.pool(1) as pool:
        pending = [pool.submit(_end)]
        with pytest.raises(RunError, match="ended from outside; if memory ran out"):
            list(workers.completed(pending))


def test_a_fold_that_fails_is_told_at_once(tmp_path):
    with workers.pool(1) as pool:
        pending = [pool.submit(_work, tmp_path, number) for number in range(9)]
        with pytest.raises(RunError, match="fold 0 has no clip"):
            list(workers.completed(pending))
    assert len(list(tmp_path.iterdir())) < 5  # what waited in line is not begun
