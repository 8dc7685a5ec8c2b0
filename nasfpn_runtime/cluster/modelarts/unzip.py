"""Unpack an archive that need not be trusted."""

from __future__ import annotations

import shutil
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from nasfpn_runtime.errors import DataError

# What zipfile raises on contents it cannot read: RuntimeError on an encrypted member, and its
# subclass NotImplementedError on an unknown compression.
_UNREADABLE = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError)
_BESIDE = "__MACOSX"  # attributes that macOS packs beside the files


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a zip archive to a new folder; nothing is written unless every member may be.

    A folder that all members are in is left out of their paths.

    Raises:
        DataError: the archive is broken or encrypted, a member is no plain file or folder,
            would lie outside the folder or is there twice, or all that is declared is more
            than the disk has room for.
    """
    try:
        with zipfile.ZipFile(archive) as source:
            members = _checked(source, archive)
            _check_room(members, archive)
            folder.mkdir()
            top = _common_folder(members)
            for path, member in members.items():
                _write(source, member, folder / path.relative_to(top))
    except _UNREADABLE as error:
        raise DataError(f"an archive is a whole zip file, got {error} (at {archive})") from None


def _checked(source: zipfile.ZipFile, archive: Path) -> dict[PurePosixPath, zipfile.ZipInfo]:
    members: dict[PurePosixPath, zipfile.ZipInfo] = {}
    for member in source.infolist():
        name = member.filename
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name or not path.parts:
            rule = "stays in its folder"
        elif stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
            rule = "is a plain file or folder"
        elif path in members:
            rule = "is there once"
        else:
            if path.parts[0] != _BESIDE:
                members[path] = member
            continue
        raise DataError(f"a member of an archive {rule}, got {name!r} (at {archive})")
    return members


def _check_room(members: dict[PurePosixPath, zipfile.ZipInfo], archive: Path) -> None:
    # zipfile reads no more of a member than it declares, so a false size gains nothing.
    needed = sum(member.file_size for member in members.values())
    free = shutil.disk_usage(archive.parent).free
    if needed > free:
        raise DataError(
            f"a disk has room for what is unpacked, got {free >> 20:,} MB free of the "
            f"{needed >> 20:,} MB that {archive.name} declares"
        )


def _common_folder(members: dict[PurePosixPath, zipfile.ZipInfo]) -> PurePosixPath:
    tops = {path.parts[0] for path in members}
    inside = all(len(path.parts) > 1 or member.is_dir() for path, member in members.items())
    return PurePosixPath(tops.pop() if len(tops) == 1 and inside else "")


def _write(source: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> None:
    if member.is_dir():
        path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with source.open(member) as content, path.open("xb") as file:
        shutil.copyfileobj(content, file, 1 << 20)
