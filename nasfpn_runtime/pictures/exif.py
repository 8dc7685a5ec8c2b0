"""Remove the EXIF orientation of an image file without touching its pixels."""

from __future__ import annotations

import io
import struct
import zlib

from PIL import Image

_ORIENTATION, _SHORT, _NORMAL = 0x0112, 3, 1
_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}  # starts of a TIFF header, and their byte orders


def without_orientation(content: bytes) -> bytes | None:
    """Return an image file with the value 1 in its orientation entry: as it is stored.

    Only these two bytes change, and in PNG the checksum of their chunk. Sizes stay the same.

    Returns:
        None if the entry is not found, as in formats other than JPEG, PNG and WebP.
    """
    with Image.open(io.BytesIO(content)) as picture:
        kind, exif = picture.format, picture.info.get("exif", b"")
    header: bytes = exif.removeprefix(b"Exif\0\0")
    place = _value_place(header)
    if kind not in ("JPEG", "PNG", "WEBP") or place is None or content.count(header) != 1:
        return None
    start, end = content.index(header), content.index(header) + len(header)
    value = struct.pack(_ORDERS[header[:4]] + "H", _NORMAL)
    header = header[:place] + value + header[place + 2 :]
    if kind == "PNG":
        checksum = struct.pack(">I", zlib.crc32(b"eXIf" + header))
        return content[:start] + header + checksum + content[end + 4 :]
    return content[:start] + header + content[end:]


def _value_place(header: bytes) -> int | None:
    """Return where the value of the orientation is in a TIFF header (TIFF 6.0, section 2)."""
    order = _ORDERS.get(header[:4])
    if order is None:
        return None
    try:
        (first,) = struct.unpack_from(order + "I", header, 4)
        (count,) = struct.unpack_from(order + "H", header, first)
        for number in range(count):
            entry = first + 2 + 12 * number
            if struct.unpack_from(order + "HH", header, entry) == (_ORIENTATION, _SHORT):
                return entry + 8 if entry + 10 <= len(header) else None
    except struct.error:
        return None
    return None
