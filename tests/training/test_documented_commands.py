"""The commands in docs/training.md are ones that the program takes."""

import re
import shlex

import pytest

pytest.importorskip("scipy", reason="the training tests need the extra 'train'")

from training.__main__ import _parser

# What "..." stands for on the page.
COMMON = ["--config", "CONFIG", "--data", "DIR", "--out", "runs/evaluation"]


def test_every_command_parses_and_names_what_is_there(repository):
    page = (repository / "docs/training.md").read_text().replace("\\\n", " ")
    lines = re.findall(r"python -m training ([^\n`]+)", page)
    assert len(lines) > 10
    verbs = set()
    for line in lines:
        words = []
        for word in shlex.split(line):
            words += COMMON if word == "..." else [word]
        args = _parser().parse_args(words)
        verbs.add(args.function.__name__)
        for word in words:
            if word.startswith("training/"):
                assert (repository / word).exists(), word
    assert {"_own", "_corpora", "_tune", "_ablate", "_evaluate", "_report"} <= verbs
