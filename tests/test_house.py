"""Who may import whom, and what importing costs."""

from __future__ import annotations

import ast
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
FOLDERS = ("edge_ser", "training", "conversion", "benchmarks", "tests")
# A module's command line may reach further than the module.
FORBIDDEN = {
    "edge_ser": {"training", "conversion", "benchmarks", "tests"},
    "training": {"benchmarks", "tests"},
    "conversion": {"training", "benchmarks", "tests"},
    "benchmarks": {"tests"},
}
MAY_REACH = {"conversion/__main__.py": {"training"}}
# On the device these come from extras, and are imported where they are used.
EXTRAS = ("pyaudio", "soundfile", "soxr", "paho", "webrtcvad", "cryptography")


def imports(path: pathlib.Path, *, anywhere: bool) -> set[str]:
    """Top-level names that a module imports; not `anywhere`: as it loads."""
    tree = ast.parse(path.read_text())
    nodes = ast.walk(tree) if anywhere else iter(tree.body)
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("folder", sorted(FORBIDDEN))
def test_no_folder_imports_what_stands_above_it(folder):
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files
    for path in files:
        name = path.relative_to(ROOT).as_posix()
        wrong = imports(path, anywhere=True) & FORBIDDEN[folder]
        assert wrong <= MAY_REACH.get(name, set()), f"{name} imports {wrong}"


def test_the_device_package_needs_numpy_alone():
    allowed = set(sys.stdlib_module_names) | {"numpy", "edge_ser"}
    for path in sorted((ROOT / "edge_ser").rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        assert imports(path, anywhere=False) <= allowed, name
        everywhere = imports(path, anywhere=True) - allowed
        assert everywhere <= {*EXTRAS}, f"{name} imports {everywhere}"


def test_importing_it_loads_nothing_heavy():
    program = "import edge_ser, sys; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.split()
    heavy = {"tensorflow", "scipy", "librosa", "tflite_runtime", "ai_edge_litert"}
    assert not heavy & set(loaded)
    assert not set(EXTRAS) & set(loaded)


def test_no_path_of_a_machine_in_the_tree():
    found = subprocess.run(
        ["git", "grep", "-nIE", r"/(home|root)/[a-z]+/", "--", ":!LICENSE"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 1, found.stdout + found.stderr  # 1: nothing matches


def test_the_wheel_holds_the_device_package_alone(tmp_path):
    import zipfile

    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--quiet"]
    subprocess.run([*command, "-w", tmp_path, "."], cwd=ROOT, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    folders = {name.split("/")[0] for name in names}
    assert {f for f in folders if not f.endswith(".dist-info")} == {"edge_ser"}
    for model in ("default", "nano", "open", "mfcc"):
        assert f"edge_ser/models/{model}.tflite" in names
    assert "edge_ser/py.typed" in names
    assert wheel.stat().st_size < 1_000_000
