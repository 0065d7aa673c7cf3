"""Keys, and the signing of bundles; the device's half is `edge_ser.signing`."""

from __future__ import annotations

import os
import pathlib
from typing import TYPE_CHECKING

from conversion.errors import ConversionError
from edge_ser import bundle, signing

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ed25519

_MISSING = "signing needs the package cryptography: pip install cryptography"


def generate(stem: pathlib.Path) -> signing.PublicKey:
    """Write a new pair of keys, ``STEM.key`` (keep it secret) and ``STEM.pub``.

    Both are PEM, as openssl reads and writes them.

    Raises:
        ConversionError: one of the files exists, or the folder cannot be written.
    """
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        raise ConversionError(_MISSING) from error
    secret, public = pathlib.Path(f"{stem}.key"), pathlib.Path(f"{stem}.pub")
    key = ed25519.Ed25519PrivateKey.generate()
    pem = serialization.Encoding.PEM
    files = {
        secret: (
            0o600,
            key.private_bytes(
                pem,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            ),
        ),
        public: (
            0o644,
            key.public_key().public_bytes(
                pem, serialization.PublicFormat.SubjectPublicKeyInfo
            ),
        ),
    }
    for path in files:
        # A key that is lost cannot sign what its devices would still take.
        if path.exists():
            raise ConversionError(f"{path} exists; choose another name")
    made: list[pathlib.Path] = []
    try:
        for path, (mode, text) in files.items():
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            made.append(path)
            with os.fdopen(handle, "wb") as file:
                file.write(text)
    except OSError as error:
        for path in made:
            path.unlink()
        raise ConversionError(
            f"{stem}: keys cannot be written: {error.strerror}"
        ) from error
    return signing.load_public_keys([public])[0]


def load_private_key(path: pathlib.Path) -> ed25519.Ed25519PrivateKey:
    """Read a private key, PEM without a passphrase.

    Raises:
        ConversionError: unreadable, or no such key.
    """
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        raise ConversionError(_MISSING) from error
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), None)
    except OSError as error:
        raise ConversionError(f"{path}: cannot be read: {error.strerror}") from error
    except TypeError as error:
        raise ConversionError(
            f"{path} has a passphrase; take it off: openssl pkey -in {path} -out NEW"
        ) from error
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise ConversionError(
            f"{path}: no Ed25519 private key; give the .key file that "
            "`python -m conversion keygen` wrote"
        )
    return key


def sign(path: pathlib.Path, key: ed25519.Ed25519PrivateKey) -> bundle.Bundle:
    """Sign a bundle in place; a former signature makes way.

    Raises:
        BundleError: no good bundle, or it cannot be written.
    """
    bundle.read(path)
    unsigned, _ = signing.detach(path.read_bytes())
    bundle.write_bytes(path, signing.attach(unsigned, key))
    return bundle.read(path)
