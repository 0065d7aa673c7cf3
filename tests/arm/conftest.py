"""Replaces the other conftests on emulated ARM: fewer examples, no corpora."""

from __future__ import annotations

import pathlib

import hypothesis
import pytest

from tiny_model import TINY_MODEL

hypothesis.settings.register_profile("emulated", max_examples=8, deadline=None)
hypothesis.settings.load_profile("emulated")


@pytest.fixture(scope="session")
def repository() -> pathlib.Path:
    return pathlib.Path(__file__).parents[1]


@pytest.fixture(scope="session")
def model() -> str:
    return str(TINY_MODEL)


@pytest.fixture(scope="session")
def corpora_folder():
    pytest.skip("the corpora are not copied into the emulated root")
