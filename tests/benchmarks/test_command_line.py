"""What owners of boards run needs numpy and an interpreter alone."""

import subprocess
import sys

import pytest

from benchmarks import __main__ as command_line

# A board has none of these.
MISSING = ("tensorflow", "matplotlib", "markdown", "scipy", "librosa", "training")


@pytest.mark.parametrize("verb", ["window", "scaling", "startup", "estimate"])
def test_a_board_needs_the_runtime_alone(verb):
    program = f"import sys\nfor name in {MISSING}: sys.modules[name] = None\n"
    program += f"sys.argv[1:] = ['{verb}', '--help']\n"
    program += "from benchmarks.__main__ import main\nmain()"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "--json" in done.stdout


def test_every_verb_has_its_line_of_help(capsys):
    with pytest.raises(SystemExit):
        command_line.main(["--help"])
    out = capsys.readouterr().out
    for verb, summary in command_line.verbs().items():
        assert summary.endswith("."), verb
        assert verb in out
