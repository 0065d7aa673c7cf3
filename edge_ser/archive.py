"""The one zip archive that a bundle's tail can be, byte for byte.

One file, stored, at a fixed time: what `zipfile` writes for it and reads, spelled out,
so that reading a model needs none of what `zipfile` imports, and any other spelling is
known to be an alteration. PKWARE 2022, "APPNOTE.TXT: .ZIP File Format Specification".
"""

from __future__ import annotations

import struct
import zlib

_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_VERSION = 20
_UNIX = 3
# 1980-01-01 00:00:00, so that the same card gives the same bytes.
_TIME, _DATE = 0, 0x21
_MODE = 0o600 << 16


def tail(name: str, text: bytes, start: int) -> bytes:
    """The archive of one file, to be appended at byte `start`."""
    encoded = name.encode("ascii")
    common = (_VERSION, 0, 0, _TIME, _DATE, zlib.crc32(text), len(text), len(text))
    local = _LOCAL.pack(b"PK\3\4", *common, len(encoded), 0) + encoded
    central = _CENTRAL.pack(
        b"PK\1\2",
        _UNIX << 8 | _VERSION,
        *common,
        len(encoded),
        0,
        0,
        0,
        0,
        _MODE,
        start,
    )
    central += encoded
    place = start + len(local) + len(text)
    end = _END.pack(b"PK\5\6", 0, 0, 1, 1, len(central), place, 0)
    return local + text + central + end


def split(data: bytes, name: str) -> tuple[int, bytes] | None:
    """Where the archive starts, and its one file; None if there is no such archive.

    What is found has yet to be compared with what `tail` gives for it.
    """
    if len(data) < _END.size or data[-_END.size :][:4] != b"PK\5\6":
        return None
    place = _END.unpack(data[-_END.size :])[6]
    if place + _CENTRAL.size > len(data):
        return None
    fields = _CENTRAL.unpack(data[place : place + _CENTRAL.size])
    size, start = fields[9], fields[16]
    first = start + _LOCAL.size + len(name)
    if fields[0] != b"PK\1\2" or first + size > place:
        return None
    return start, data[first : first + size]
