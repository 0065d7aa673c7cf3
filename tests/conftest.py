"""What all tests share: where the corpora are, and that nothing skips in silence."""

from __future__ import annotations

import os
import pathlib

import pytest

# Programs, not tests: doctest would import, and so run, them.
collect_ignore = ["arm/make_clip.py", "data/make_tiny.py", "data/make_golden.py"]


@pytest.fixture(scope="session")
def corpora_folder() -> pathlib.Path:
    """The real corpora; tests that need them skip where a newcomer has none."""
    value = os.environ.get("EDGE_SER_DATA")
    if not value:
        pytest.skip(
            "needs the emotional-speech corpora: set EDGE_SER_DATA to their folder "
            "(see CONTRIBUTING.md)"
        )
    folder = pathlib.Path(value).resolve()
    if not folder.is_dir():
        pytest.fail(f"EDGE_SER_DATA is {value}, which is no folder")
    return folder


@pytest.fixture(scope="session")
def repository() -> pathlib.Path:
    """The checkout."""
    return pathlib.Path(__file__).parents[1]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """With EDGE_SER_NO_SKIP=1 (in CI) a skipped test is a failed one."""
    report = yield
    if report.skipped and os.environ.get("EDGE_SER_NO_SKIP") == "1":
        report.outcome = "failed"
        report.longrepr = f"skipped where nothing may be: {report.longrepr}"
    return report


TINY_CONFIG = {
    "name": "trial",
    "corpora": ["emodb"],
    "labels": ["neutral", "happy", "sad", "angry"],
    "protocol": "emodb4",
    "architecture": "resnet2d",
    "model": {"channels": [8, 16, 24], "dropout": 0.1},
    "features": {
        "n_mfcc": 0,
        "n_mels": 40,
        "normalisation": "window_level",
        "frames_per_window": 128,
    },
    "augmentation": {"time_warp": 0.1, "gain_db": 6.0},
    "recipe": {
        "epochs": 14,
        "batch_size": 16,
        "average_momentum": 0.9,
        "prune_epochs": 2,
    },
}


@pytest.fixture(scope="session")
def trained(corpora_folder, tmp_path_factory):
    """A small network trained on eight speakers of EMO-DB: (run, features)."""
    pytest.importorskip("tensorflow", reason="needs TensorFlow, so Python 3.11 or 3.12")
    from training import config, stages

    folder = tmp_path_factory.mktemp("trained")
    parsed = config.parse(TINY_CONFIG)
    features = stages.load_features(parsed, corpora_folder / "emodb", folder / "cache")
    held_out = ["emodb/03", "emodb/08"]
    run = stages.train_run(
        parsed,
        features,
        corpora_folder / "emodb",
        folder / "run",
        seed=0,
        fold=None,
        validation_speakers=held_out,
    )
    return run, features
