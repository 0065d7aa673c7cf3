"""The installer on a real Debian: again, upgraded, failing, and removed."""

from __future__ import annotations

import pathlib
import shutil

import pytest

from machine import build_wheel, copy_of_checkout

UNIT = "edge-ser.service"
ROOT = pathlib.Path(__file__).parents[2]
# What a running system writes by itself.
VOLATILE = "/proc|/sys|/run|/tmp|/dev|/var/log|/var/lib/systemd|/src|/wheels|/root"


def files(machine):
    """Every path of the container, but for what changes by itself."""
    listed = machine.run(
        "find",
        "/",
        "-xdev",
        "-regextype",
        "posix-extended",
        "-regex",
        f"({VOLATILE})(/.*)?",
        "-prune",
        "-o",
        "-print",
    ).stdout.splitlines()
    return {path for path in listed if "__pycache__" not in path}


def install(machine, *arguments):
    return machine.run("/src/deploy/install.sh", *arguments, timeout_s=300)


def release(machine, version, tmp_path, change=lambda folder: None):
    """Put another version into /src and /wheels."""
    folder = copy_of_checkout(ROOT, tmp_path / version)
    module = folder / "edge_ser/__init__.py"
    text = module.read_text()
    module.write_text(
        text.replace('__version__ = "0.1.0"', f'__version__ = "{version}"')
    )
    assert version in module.read_text()
    change(folder)
    shutil.rmtree(machine.root / "src/edge_ser")
    shutil.copytree(folder / "edge_ser", machine.root / "src/edge_ser")
    build_wheel(folder, machine.root / "wheels")


def current(machine):
    return machine.run("readlink", "/opt/edge-ser/current").stdout.strip()


def test_a_dry_run_changes_nothing(machine):
    before = files(machine)
    done = install(machine, "--dry-run", "--wheels", "/wheels")
    assert done.returncode == 0, done.stderr
    assert "would: systemctl restart edge-ser.service" in done.stdout
    assert files(machine) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--colour"], "unknown option --colour"),
        (["--wheels"], "needs a folder"),
        (["--wheels", "/nowhere"], "no folder /nowhere"),
    ],
)
def test_wrong_usage_is_one_line(machine, arguments, message):
    done = install(machine, *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_again_changes_nothing(installed):
    process = installed.show(UNIT, "MainPID")
    done = install(installed, "--wheels", "/wheels")
    assert done.returncode == 0
    assert "runs already" in done.stdout
    assert installed.show(UNIT, "MainPID") == process
    answer = installed.run("/usr/local/bin/edge-ser", "--version")
    assert answer.stdout.strip() == "edge-ser 0.1.0"


def test_an_upgrade_keeps_the_settings_and_the_former_version(installed, tmp_path):
    settings = (installed.root / "etc/edge-ser/config.toml").read_text()
    before = current(installed)
    release(installed, "0.1.1", tmp_path)
    done = install(installed, "--wheels", "/wheels")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "/0.1.1-" in current(installed)
    assert (installed.root / before.lstrip("/")).exists()
    assert installed.show(UNIT, "ActiveState") == "active"
    assert (installed.root / "etc/edge-ser/config.toml").read_text() == settings


def test_a_version_that_does_not_get_ready_gives_way(installed, tmp_path):
    before = current(installed)

    def break_it(folder):
        module = folder / "edge_ser/service.py"
        # The model loads, but the service never says that it is ready.
        text = module.read_text()
        module.write_text(text + "\n\nService.run = lambda self: sys.exit(1)\n")

    release(installed, "0.1.2", tmp_path, break_it)
    done = install(installed, "--wheels", "/wheels")
    assert done.returncode == 1
    assert "did not get ready; back to 0.1." in done.stderr
    assert current(installed) == before
    installed.wait_for(
        "active again", lambda: installed.show(UNIT, "ActiveState") == "active", 30
    )


def test_uninstalling_leaves_no_trace(machine, tmp_path):
    machine.run("/src/deploy/install.sh", "--uninstall")
    before = files(machine)
    release(machine, "0.1.0", tmp_path)
    done = install(machine, "--wheels", "/wheels")
    # There is no microphone without the tests' settings, but the service waits for one.
    assert done.returncode == 0, done.stdout + done.stderr
    assert files(machine) > before
    gone = install(machine, "--uninstall")
    assert gone.returncode == 0
    assert files(machine) == before
    assert machine.show(UNIT, "LoadState") == "not-found"
