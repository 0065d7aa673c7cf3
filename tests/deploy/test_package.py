"""Wheel, source archive and Debian packages: pinned, the same always, and they run."""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile

import pytest

from machine import copy_of_checkout, make_root

ROOT = pathlib.Path(__file__).parents[2]
REQUIREMENTS = ROOT / "deploy/requirements"
CLIP = ROOT / "examples/audio/excited-high.wav"
TARGETS = [
    ("bookworm", "amd64"),
    ("bookworm", "arm64"),
    ("bookworm", "armhf"),
    ("trixie", "amd64"),
    ("trixie", "arm64"),
]
# Instructions that the oldest Raspberry Pi lacks must not go unnoticed.
PROCESSOR = {"arm64": "cortex-a53", "armhf": "cortex-a7"}
SETUP = (ROOT / "setup.py").read_text().partition("install_requires")[2]
EPOCH_S = 1_760_000_000


def package(folder, *arguments, **environment):
    """Run a checkout's deploy/package.py with the pinned tools."""
    subprocess.run(["make", "-s", ".venv-build/.ready"], cwd=ROOT, check=True)
    python = ROOT / ".venv-build/bin/python"
    return subprocess.run(
        [python, folder / "deploy/package.py", *map(str, arguments)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )


def built(folder, *arguments, **environment):
    done = package(folder, *arguments, **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return pathlib.Path(done.stdout.split()[-1])


@pytest.fixture(scope="module")
def needs_tools():
    missing = [t for t in ("dh", "lintian", "mandoc") if not shutil.which(t)]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}: apt install debhelper lintian mandoc")


@pytest.fixture(scope="module")
def deb(needs_tools, tmp_path_factory):
    """The package for this machine."""
    out = tmp_path_factory.mktemp("deb")
    return built(ROOT, "deb", "--suite=bookworm", "--arch=amd64", f"--out={out}")


@pytest.fixture(scope="module")
def unpacked(deb, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unpacked")
    subprocess.run(["dpkg-deb", "-x", deb, folder], check=True)
    return folder


def pins(name):
    """Name, version and hashes of each line of a requirements file."""
    text = (REQUIREMENTS / name).read_text().replace("\\\n", " ")
    found = {}
    for line in text.splitlines():
        requirement, *rest = line.split()
        distribution, version = requirement.split("==")
        found[distribution] = (version, [word.split(":")[1] for word in rest])
    return found


@pytest.mark.parametrize("name", ["build.txt", "debian.txt", "debian-armhf.txt"])
def test_requirements_are_pinned_and_hashed(name):
    for version, hashes in pins(name).values():
        assert re.fullmatch(r"[\w.]+", version)
        assert hashes
        assert all(re.fullmatch("[0-9a-f]{64}", each) for each in hashes)


@pytest.mark.parametrize("name", ["debian.txt", "debian-armhf.txt"])
def test_pins_are_what_the_package_allows(name):
    from packaging.requirements import Requirement

    listed = re.findall(r'"([a-z-]+(?:==|>=)[^"]+)"', SETUP)
    allowed = {}
    for each in listed:
        requirement = Requirement(each)
        machine = "armv7l" if "armhf" in name else "aarch64"
        if not requirement.marker or requirement.marker.evaluate(
            {"platform_machine": machine}
        ):
            allowed[requirement.name] = requirement.specifier
    for distribution, (version, _) in pins(name).items():
        assert version in allowed[distribution], distribution


def test_a_target_without_an_interpreter_is_refused(tmp_path):
    done = package(ROOT, "deb", "--suite=trixie", "--arch=armhf", f"--out={tmp_path}")
    assert done.returncode == 1
    assert "no package for trixie armhf; valid: bookworm amd64" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_wheel_that_is_not_the_pinned_one_is_refused(tmp_path):
    for name in ("ai_edge_litert-2.3.0", "paho_mqtt-2.2.0", "webrtcvad_wheels-2.0.14"):
        (tmp_path / f"{name}-py3-none-any.whl").write_bytes(b"PK\5\6" + bytes(18))
    done = package(
        ROOT,
        "deb",
        "--suite=bookworm",
        "--arch=amd64",
        f"--wheels={tmp_path}",
        f"--out={tmp_path / 'out'}",
    )
    assert done.returncode == 1
    assert "the pinned wheels for bookworm amd64 could not be fetched" in done.stderr
    assert not list((tmp_path / "out").iterdir())


def digests(*paths):
    return {each.name: hashlib.sha256(each.read_bytes()).hexdigest() for each in paths}


@pytest.mark.long
def test_built_elsewhere_and_later_it_is_the_same(deb, tmp_path):
    """Another folder, other times and modes of files, another locale and zone."""
    first = digests(
        deb, deb.with_suffix(".cdx.json"), built(ROOT, "wheel", f"--out={tmp_path}")
    )
    before = os.umask(0o077)
    try:
        folder = copy_of_checkout(ROOT, tmp_path / "elsewhere")
        for path in folder.rglob("*.py"):
            os.utime(path, (EPOCH_S, EPOCH_S))
        out = tmp_path / "out"
        target = ("--suite=bookworm", "--arch=amd64", f"--out={out}")
        same = {"SOURCE_DATE_EPOCH": commit_time(), "TZ": "Asia/Tokyo", "LANG": "C"}
        built(folder, "wheel", f"--out={out}", **same)
        built(folder, "deb", *target, **same)
    finally:
        os.umask(before)
    assert digests(*out.iterdir()) == first


def commit_time(checkout=ROOT):
    """As the checkout's deploy/package.py finds it."""
    asked = "import sys; sys.path.insert(0, 'deploy'); import package as p; "
    command = [ROOT / ".venv-build/bin/python", "-c", asked + "print(p.epoch_s())"]
    return subprocess.check_output(command, cwd=checkout, text=True).strip()


def test_a_release_archive_installs_and_keeps_the_time_of_the_commit(tmp_path):
    if not (ROOT / ".git").exists():
        pytest.skip("needs a git checkout")
    archive = built(ROOT, "source", f"--out={tmp_path}")
    with tarfile.open(archive) as file:
        file.extractall(tmp_path, filter="data")
    (folder,) = tmp_path.glob("edge-ser-*/")
    assert commit_time(folder) == commit_time()
    told = subprocess.check_output(
        [folder / "deploy/install.sh", "--dry-run"], text=True
    )
    assert "would: systemctl restart edge-ser.service" in told


@pytest.mark.long
def test_lintian_finds_no_fault(deb):
    done = subprocess.run(
        ["lintian", "--fail-on=error,warning", deb], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.long
def test_the_bill_of_materials_names_all_that_is_inside(deb, unpacked):
    text = (unpacked / "usr/share/edge-ser/sbom.cdx.json").read_text()
    assert text == deb.with_suffix(".cdx.json").read_text()
    parts = {part["name"]: part for part in json.loads(text)["components"]}
    pinned = pins("debian.txt")
    for name, (version, hashes) in pinned.items():
        assert parts[name]["version"] == version
        assert parts[name]["hashes"][0]["content"] in hashes
        assert parts[name]["licenses"]
    inside = unpacked / "usr/lib/edge-ser"
    for model in inside.glob("edge_ser/models/*.tflite"):
        digest = hashlib.sha256(model.read_bytes()).hexdigest()
        assert parts[model.name]["hashes"][0]["content"] == digest
    # Nothing is inside that it does not name.
    found = {path.name.split("-")[0] for path in inside.glob("*.dist-info")}
    assert {name.replace("_", "-") for name in found} == set(pinned)
    control = subprocess.check_output(["dpkg-deb", "-f", deb, "Depends"], text=True)
    for each in re.findall(r"[a-z][a-z0-9.+-]+", control.replace("(", " (")):
        assert each in parts


@pytest.mark.long
def test_the_manual_pages_tell_every_option_and_setting(unpacked):
    pages = {}
    for path in unpacked.glob("usr/share/man/*/*.gz"):
        text = subprocess.check_output(["zcat", path])
        lint = subprocess.run(
            ["mandoc", "-T", "lint", "-W", "warning"], input=text, capture_output=True
        )
        assert lint.stdout == b"", path.name
        shown = subprocess.check_output(["mandoc", "-T", "utf8"], input=text)
        pages[path.name] = re.sub(".\b", "", shown.decode())
    from edge_ser.cli import _VERBS

    python = ROOT / ".venv-build/bin/python"
    for verb in _VERBS:
        command = [python, "-m", "edge_ser", verb, "--help"]
        told = subprocess.check_output(command, text=True, cwd=ROOT)
        assert f"edge-ser {verb}" in pages["edge-ser.1.gz"]
        for flag in set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", told)) - {"--help"}:
            assert flag in pages["edge-ser.1.gz"], (verb, flag)
    settings = (ROOT / "deploy/config.toml").read_text()
    for key in re.findall(r"^(?:# )?(\w+) = |^(\[\w+\])", settings, re.M):
        assert "".join(key) in pages["edge-ser.toml.5.gz"]
    assert "broker ADDRESS" in pages["edge-ser-allow.8.gz"]


@pytest.mark.long
def test_under_systemd_the_service_starts_and_purging_leaves_no_trace(machine, deb):
    unit = "edge-ser.service"
    before = machine.files()
    shutil.copy(deb, machine.root / "src/edge-ser.deb")
    install = ("apt-get", "install", "-y", "--no-install-recommends")
    done = machine.run(*install, "/src/edge-ser.deb", timeout_s=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert machine.show(unit, "ActiveState") == "active"
    assert machine.show(unit, "UnitFileState") == "enabled"
    assert machine.show(unit, "FragmentPath").startswith(("/lib/", "/usr/lib/"))
    # There is no microphone, and it says so once it has looked.
    machine.wait_for(
        "a status that tells of it",
        lambda: machine.show(unit, "StatusText").startswith("waiting"),
        20,
    )
    second = machine.run("/src/deploy/install.sh", "--wheels", "/wheels")
    assert second.returncode == 1
    assert "first: apt purge edge-ser" in second.stderr
    done = machine.run("edge-ser-allow", "broker", "192.168.1.5")
    assert done.returncode == 0, done.stderr
    assert "192.168.1.5" in machine.show(unit, "IPAddressAllow")
    # Upgraded, it is restarted; a file of one's own stays until the purge.
    process = machine.show(unit, "MainPID")
    (machine.root / "etc/edge-ser/mqtt-password").write_text("secret")
    again = machine.run(*install, "--reinstall", "/src/edge-ser.deb", timeout_s=300)
    assert again.returncode == 0, again.stdout + again.stderr
    assert machine.show(unit, "MainPID") not in ("0", process)
    assert machine.show(unit, "ActiveState") == "active"
    purged = machine.run("apt-get", "purge", "-y", "edge-ser", timeout_s=300)
    assert purged.returncode == 0, purged.stdout + purged.stderr
    assert machine.files() == before
    assert machine.show(unit, "LoadState") == "not-found"


class Chroot:
    """A root file system without systemd, of any architecture."""

    def __init__(self, root: pathlib.Path, arch: str) -> None:
        self.root, self.arch = root, arch

    def run(self, *command):
        environment = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "DEBIAN_FRONTEND": "noninteractive",
            "LC_ALL": "C.UTF-8",
            "QEMU_CPU": PROCESSOR.get(self.arch, ""),
            "OPENBLAS_NUM_THREADS": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        return subprocess.run(
            ["chroot", self.root, *command],
            env={name: value for name, value in environment.items() if value},
            capture_output=True,
            text=True,
        )

    def checked(self, *command) -> str:
        done = self.run(*command)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def files(self):
        listed = self.checked("find", "/", "-xdev").splitlines()
        volatile = re.compile(
            r"/(proc|sys|dev|tmp|run|var/log|var/cache|var/lib/(dpkg|apt))/"
        )
        return {path for path in listed if not volatile.match(path + "/")}


@pytest.mark.long
@pytest.mark.parametrize(("suite", "arch"), TARGETS)
def test_apt_installs_it_it_hears_and_purging_leaves_no_trace(
    suite, arch, needs_tools, tmp_path
):
    if os.geteuid() or not shutil.which("mmdebstrap"):
        pytest.skip("needs mmdebstrap and root rights")
    pristine = ROOT / f".cache/{suite}-{arch}"
    if not pristine.exists():
        make_root(
            pristine,
            "--variant=apt",
            f"--architectures={arch}",
            "--dpkgopt=path-exclude=/usr/share/doc/*",
            "--dpkgopt=force-unsafe-io",
            # Compiling all of numpy's modules takes minutes on an emulated processor.
            '--essential-hook=mkdir -p "$1/usr/local/bin"; '
            'ln -s /bin/true "$1/usr/local/bin/py3compile"',
            '--customize-hook=rm "$1/usr/local/bin/py3compile"',
            suite=suite,
            packages="python3,python3-numpy",
        )
    root = tmp_path / "root"
    subprocess.run(["cp", "-a", "--reflink=auto", pristine, root], check=True)
    made = built(ROOT, "deb", f"--suite={suite}", f"--arch={arch}", f"--out={tmp_path}")
    # A later release's package is the newer one, which an upgrade of Debian takes.
    release = re.search(r'VERSION_ID="(\d+)"', (root / "etc/os-release").read_text())
    assert release
    assert f"+deb{release[1]}_" in made.name
    shutil.copy(made, root / "tmp/edge-ser.deb")
    shutil.copy(CLIP, root / "tmp/clip.wav")
    inside = Chroot(root, arch)
    before = inside.files()
    install = ("apt-get", "install", "-y", "--no-install-recommends")
    inside.checked(*install, "/tmp/edge-ser.deb")
    answer = json.loads(
        inside.checked("edge-ser", "classify", "--json", "/tmp/clip.wav")
    )
    here = subprocess.run(
        [sys.executable, "-m", "edge_ser", "classify", "--json", CLIP],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    # Other processors and numpy versions round the int8 steps of the logits otherwise.
    assert answer["probabilities"] == pytest.approx(
        json.loads(here.stdout)["probabilities"], abs=0.15
    )
    # Emulated, it is too slow to listen, which the doctor tells, too.
    told = inside.run("edge-ser", "doctor", "--no-microphone").stdout
    runtime = "tflite-runtime" if arch == "armhf" else "ai-edge-litert"
    assert re.search(rf"^ok +interpreter +{runtime}", told, re.M), told
    inside.checked("python3", "-I", "-c", IMPORT_SINK)
    # The settings belong to who owns the machine.
    settings = root / "etc/edge-ser/config.toml"
    settings.write_text('device_name = "kitchen"\n')
    inside.checked(*install, "--reinstall", "/tmp/edge-ser.deb")
    assert settings.read_text() == 'device_name = "kitchen"\n'
    inside.checked("apt-get", "purge", "-y", "edge-ser")
    assert inside.files() == before


IMPORT_SINK = """
import sys
sys.path.insert(0, "/usr/lib/edge-ser")
from paho.mqtt.client import CallbackAPIVersion
from edge_ser import vad
"""
