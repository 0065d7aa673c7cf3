"""What owners of boards run needs numpy and an interpreter alone."""

import os
import signal
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


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("estimate --model /no/bundle", "/no/bundle: model cannot be read"),
        ("estimate --json /proc/none/a.json", "'/proc/none'"),
        ("startup --json /proc", "Is a directory: '/proc'"),
        (f"startup --json /tmp/{'a' * 1024}", "File name too long"),
        ("all --out README.md", "File exists: 'README.md'"),
        (f"all --out /tmp/{'a' * 1024}", "File name too long"),
        ("listening fold-1.tflite --data /no/corpora", "'/no/corpora/noise/split.csv'"),
        ("peers --only egemaps-svm --protocol mars", "no row of the zoo has protocol"),
    ],
)
def test_what_cannot_be_used_is_told_in_one_line(typed, message, capsys, monkeypatch):
    monkeypatch.delenv("EDGE_SER_DATA", raising=False)
    assert command_line.main(typed.split()) != 0
    told = capsys.readouterr().err
    assert told.startswith("benchmarks: ")
    assert message in told
    assert told.count("\n") == 1


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("startup --rounds 0", "--rounds: 0 given; valid: 1 or more"),
        ("scaling --seconds -1", "--seconds: -1 given; valid: a number above 0"),
        ("window --seconds inf", "--seconds: inf given; valid: a number above 0"),
        ("quantization x --data . --clips -1", "valid: 1 or more, or 0: all"),
        ("estimate --lay", "unrecognized arguments: --lay"),
    ],
)
def test_amounts_that_measure_nothing_are_refused(typed, message, capsys):
    with pytest.raises(SystemExit) as left:
        command_line.main(typed.split())
    assert left.value.code == 2
    assert message in capsys.readouterr().err


def test_a_board_is_told_what_the_report_needs():
    program = "import sys\nsys.modules['matplotlib'] = None\n"
    program += "from benchmarks.__main__ import main\nmain(['report', '.'])"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.stderr == (
        "benchmarks: report needs matplotlib; `make test` sets it up\n"
    )


def test_an_interruption_leaves_nothing_half_done(tmp_path):
    command = [sys.executable, "-m", "benchmarks", "all", "--out", str(tmp_path)]
    run = subprocess.Popen(
        [*command, "--only", "startup"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # What a shell starts in the background ignores it, and so would this.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert run.stdout is not None
    while "startup" not in run.stdout.readline():
        pass
    os.killpg(run.pid, signal.SIGINT)
    assert run.communicate(timeout=60)[1] == "benchmarks: interrupted\n"
    assert run.returncode == 130
    assert not list(tmp_path.iterdir())
