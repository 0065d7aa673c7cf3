"""The snippets in docs/ run as they are printed."""

from __future__ import annotations

import doctest
import pathlib

import pytest

import edge_ser

DOCS = pathlib.Path(__file__).parents[1] / "docs"


@pytest.mark.parametrize("page", ["embedding.md"])
def test_snippets(page):
    results = doctest.testfile(str(DOCS / page), module_relative=False)
    assert results.attempted > 5
    assert not results.failed


def test_what_is_promised_exists():
    for name in edge_ser.__all__:
        assert getattr(edge_ser, name) is not None
