"""Signatures of bundles: who made a model, and that nobody changed it since.

A signature is the zip comment of a bundle's archive, so every reader of unsigned
bundles reads signed ones too. It covers every byte of the unsigned bundle, the model
part and the card alike, by Ed25519 (RFC 8032); taking the comment away gives that
bundle back. Needs the extra ``sign``.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import re
import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING

from edge_ser.errors import BundleError, ConfigError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ed25519

_COMMENT = re.compile(rb"edge-ser ed25519 ([0-9a-f]{16}) ([0-9a-f]{128})")
_COMMENT_BYTES = 17 + 16 + 1 + 128
_LENGTH = struct.Struct("<H")  # of the comment: the last field of the archive


@dataclasses.dataclass(frozen=True)
class Signature:
    """What a signed bundle carries."""

    key_id: str
    """Of the key that made it, as the bundle claims; see `PublicKey.id`."""
    value: bytes


@dataclasses.dataclass(frozen=True)
class PublicKey:
    """A key whose signatures are trusted."""

    raw: bytes
    """32 bytes."""

    @property
    def id(self) -> str:
        """The first 16 hexadecimal digits of the SHA-256 of `raw`."""
        import hashlib  # and OpenSSL with it: only who checks signatures pays for it

        return hashlib.sha256(self.raw).hexdigest()[:16]

    def verifies(self, signature: Signature, data: bytes) -> bool:
        """Whether this key's owner signed these bytes."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric import ed25519

        try:
            ed25519.Ed25519PublicKey.from_public_bytes(self.raw).verify(
                signature.value, data
            )
        except InvalidSignature:
            return False
        return True


def load_public_keys(
    paths: Sequence[str | os.PathLike[str]],
) -> tuple[PublicKey, ...]:
    """Read public keys, PEM files as ``python -m conversion keygen`` writes them.

    Raises:
        ConfigError: unreadable, no Ed25519 public key, or no extra ``sign``.
    """
    return tuple(_load_public_key(pathlib.Path(path)) for path in paths)


def _load_public_key(path: pathlib.Path) -> PublicKey:
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        raise ConfigError(
            f"{path}: signatures need the package cryptography: "
            "pip install cryptography, or apt install python3-cryptography"
        ) from error
    try:
        key = serialization.load_pem_public_key(path.read_bytes())
    except OSError as error:
        raise ConfigError(
            f"{path}: public key cannot be read: {error.strerror}"
        ) from error
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, ed25519.Ed25519PublicKey):
        raise ConfigError(
            f"{path}: no Ed25519 public key; give the .pub file that "
            "`python -m conversion keygen` wrote"
        )
    raw = serialization.Encoding.Raw, serialization.PublicFormat.Raw
    return PublicKey(key.public_bytes(*raw))


def attach(unsigned: bytes, private_key: ed25519.Ed25519PrivateKey) -> bytes:
    """The signed form of a bundle's bytes.

    Args:
        unsigned: a whole bundle without a signature, see `detach`.
    """
    from cryptography.hazmat.primitives import serialization

    raw = serialization.Encoding.Raw, serialization.PublicFormat.Raw
    key = PublicKey(private_key.public_key().public_bytes(*raw))
    text = f"edge-ser ed25519 {key.id} {private_key.sign(unsigned).hex()}"
    comment = text.encode("ascii")
    return unsigned[: -_LENGTH.size] + _LENGTH.pack(len(comment)) + comment


def detach(data: bytes) -> tuple[bytes, Signature | None]:
    """The unsigned form of a bundle's bytes, and its signature if it has one."""
    found = _COMMENT.fullmatch(data[-_COMMENT_BYTES:])
    end = len(data) - _COMMENT_BYTES - _LENGTH.size
    length = data[max(0, end) : max(0, end) + _LENGTH.size]
    if found is None or end < 0 or length != _LENGTH.pack(_COMMENT_BYTES):
        return data, None
    key_id, value = found[1].decode("ascii"), bytes.fromhex(found[2].decode("ascii"))
    return data[:end] + _LENGTH.pack(0), Signature(key_id, value)


def check(
    unsigned: bytes,
    signature: Signature | None,
    trusted: Sequence[PublicKey],
    source: str,
) -> None:
    """Refuse a bundle that none of the trusted keys signed.

    While keys are changed, both the old and the new one are trusted.

    Args:
        unsigned, signature: see `detach`.
        source: what errors call the bundle.

    Raises:
        BundleError: no signature, or a wrong one.
    """
    known = ", ".join(key.id for key in trusted)
    if signature is None:
        raise BundleError(
            f"{source}: not signed, but a public key is configured ({known}); "
            "install a signed model, or sign it: python -m conversion sign"
        )
    if signature.key_id not in {key.id for key in trusted}:
        raise BundleError(
            f"{source}: signed by the key {signature.key_id}, which is not trusted; "
            f"trusted: {known}"
        )
    if not any(key.verifies(signature, unsigned) for key in trusted):
        raise BundleError(
            f"{source}: altered: its signature by the key {signature.key_id} is wrong"
        )
