"""Signed bundles: read by all, trusted by those who hold the key."""

from __future__ import annotations

import io
import stat
import subprocess
import sys
import zipfile

import pytest

pytest.importorskip("cryptography", reason="needs the extra sign")

from conversion import sign
from conversion.__main__ import main
from conversion.errors import ConversionError
from edge_ser import bundle, signing
from edge_ser.classifier import Classifier
from edge_ser.errors import BundleError, ConfigError
from tiny_model import TINY_MODEL

UNSIGNED = TINY_MODEL.read_bytes()


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")
    for name in ("old", "new"):
        sign.generate(folder / name)
    return folder


@pytest.fixture
def signed(keys, tmp_path):
    path = tmp_path / "signed.tflite"
    path.write_bytes(UNSIGNED)
    assert main(["sign", str(path), "--key", str(keys / "old.key")]) == 0
    return path


def trust(keys, *names):
    return signing.load_public_keys([keys / f"{name}.pub" for name in names])


def test_signed_and_trusted(keys, signed):
    read = bundle.read(signed, public_keys=trust(keys, "old"))
    assert read.signature.key_id == trust(keys, "old")[0].id
    plain = bundle.unpack(UNSIGNED)
    assert (read.card, read.model) == (plain.card, plain.model)
    assert Classifier.load(signed, public_keys=[keys / "old.pub"]).labels


def test_who_asks_for_no_signature_reads_it_too(signed):
    assert bundle.read(signed).model == bundle.unpack(UNSIGNED).model
    assert zipfile.ZipFile(signed).namelist() == ["card.json"]
    assert signing.detach(signed.read_bytes())[0] == UNSIGNED


def test_keys_can_be_changed_while_devices_trust_both(keys, signed):
    both = trust(keys, "new", "old")
    assert bundle.read(signed, public_keys=both)
    sign.sign(signed, sign.load_private_key(keys / "new.key"))
    assert bundle.read(signed, public_keys=both).signature.key_id == both[0].id
    with pytest.raises(BundleError, match=f"{both[0].id}, which is not trusted"):
        bundle.read(signed, public_keys=trust(keys, "old"))
    sign.sign(signed, sign.load_private_key(keys / "old.key"))  # and back again
    assert bundle.read(signed, public_keys=trust(keys, "old"))


def test_unsigned_is_refused(keys):
    with pytest.raises(BundleError, match="not signed, but a public key"):
        bundle.read(TINY_MODEL, public_keys=trust(keys, "old"))
    with pytest.raises(BundleError, match="not signed"):  # no exception for it
        Classifier.load(public_keys=[keys / "old.pub"])


def test_any_altered_byte_is_noticed(keys, signed):
    data = signed.read_bytes()
    trusted = trust(keys, "old")
    tail = range(len(data) - 200, len(data))
    for position in [*range(0, len(data), 501), *tail]:
        altered = bytearray(data)
        altered[position] ^= 0x04
        with pytest.raises(BundleError):
            bundle.unpack(bytes(altered), public_keys=trusted)


def test_a_signature_of_another_model_is_refused(keys, signed):
    """Whole and consistent, and still not what was signed."""
    import dataclasses

    read = bundle.read(signed)
    card = dataclasses.replace(read.card, labels=read.card.labels[::-1])
    data = bundle.pack(card, read.model)
    comment = signed.read_bytes()[len(UNSIGNED) - 2 :]
    forged = data[:-2] + comment
    assert bundle.unpack(forged).signature == read.signature
    with pytest.raises(BundleError, match=r"altered: its signature .* is wrong"):
        bundle.unpack(forged, public_keys=trust(keys, "old"))


def test_openssl_agrees(keys, signed, tmp_path):
    unsigned, signature = signing.detach(signed.read_bytes())
    (tmp_path / "unsigned").write_bytes(unsigned)
    (tmp_path / "signature").write_bytes(signature.value)
    command = ["openssl", "pkeyutl", "-verify", "-rawin", "-pubin"]
    files = ["-inkey", keys / "old.pub", "-in", tmp_path / "unsigned"]
    subprocess.run(
        [*command, *files, "-sigfile", tmp_path / "signature"],
        check=True,
        capture_output=True,
    )


def test_signing_again_gives_the_same_bytes(keys, signed):
    before = signed.read_bytes()
    sign.sign(signed, sign.load_private_key(keys / "old.key"))
    assert signed.read_bytes() == before


def test_all_bundles_are_signed_or_none(keys, tmp_path, capsys):
    unsigned = tmp_path / "unsigned.tflite"
    unsigned.write_bytes(TINY_MODEL.read_bytes())
    missing = str(tmp_path / "none.tflite")
    key = str(keys / "old.key")
    assert main(["sign", str(unsigned), missing, "--key", key]) == 3
    assert "none.tflite" in capsys.readouterr().err
    assert unsigned.read_bytes() == TINY_MODEL.read_bytes()


def test_keys_are_kept_secret_and_never_overwritten(keys, tmp_path, capsys):
    assert stat.S_IMODE((keys / "old.key").stat().st_mode) == 0o600
    before = (keys / "old.key").read_bytes()
    assert main(["keygen", str(keys / "old")]) == 1
    assert "exists" in capsys.readouterr().err
    assert (keys / "old.key").read_bytes() == before
    with pytest.raises(ConversionError, match="cannot be written"):
        sign.generate(tmp_path / "missing" / "key")


def test_files_that_are_no_keys(keys, tmp_path):
    for path in (keys / "old.key", TINY_MODEL):
        with pytest.raises(ConfigError, match="no Ed25519 public key"):
            signing.load_public_keys([path])
    for path in (keys / "old.pub", TINY_MODEL):
        with pytest.raises(ConversionError, match="no Ed25519 private key"):
            sign.load_private_key(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        signing.load_public_keys([tmp_path / "none.pub"])
    rsa, locked = tmp_path / "rsa.key", tmp_path / "locked.key"
    subprocess.run(
        ["openssl", "genrsa", "-out", rsa, "2048"], check=True, capture_output=True
    )
    with pytest.raises(ConversionError, match="no Ed25519 private key"):
        sign.load_private_key(rsa)
    locking = ["-aes256", "-passout", "pass:secret", "-out", locked]
    subprocess.run(["openssl", "pkey", "-in", keys / "old.key", *locking], check=True)
    with pytest.raises(ConversionError, match="has a passphrase"):
        sign.load_private_key(locked)


def test_what_is_no_bundle_is_not_signed(keys, tmp_path):
    path = tmp_path / "cut.tflite"
    path.write_bytes(UNSIGNED[:-10])
    with pytest.raises(BundleError):
        sign.sign(path, sign.load_private_key(keys / "old.key"))
    assert path.read_bytes() == UNSIGNED[:-10]


def test_without_the_library_the_error_says_what_to_install(keys):
    program = (
        "import sys; sys.modules['cryptography'] = None\n"
        "from edge_ser import cli\n"
        f"sys.exit(cli.main(['info', '--public-key', {str(keys / 'old.pub')!r}]))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    assert "pip install cryptography" in result.stderr


def test_the_command_line_and_the_settings(keys, signed, capsys, monkeypatch):
    from edge_ser.cli import main as run

    old, new = str(keys / "old.pub"), str(keys / "new.pub")
    assert run(["info", str(signed), "--public-key", old]) == 0
    assert "verified" in capsys.readouterr().out
    assert run(["info", str(signed)]) == 0
    assert "not checked" in capsys.readouterr().out
    assert run(["info", str(signed), "--public-key", new]) == 3
    assert capsys.readouterr().err.count("\n") == 1
    assert run(["classify", "--public-key", new, "--model", str(signed), "x"]) == 3
    monkeypatch.setenv("EDGE_SER_PUBLIC_KEYS", new)
    listen = ["listen", "--quiet", "--model", str(signed), "--file", "missing.wav"]
    assert run(listen) == 3
    assert run([*listen, "--public-key", old]) == 4  # the key fits: on to the file


def test_the_archive_with_its_comment_is_a_zip(signed):
    data = signed.read_bytes()
    archive = zipfile.ZipFile(io.BytesIO(data))
    assert archive.comment.startswith(b"edge-ser ed25519 ")
    assert archive.testzip() is None
