"""Unpacking of untrusted zip archives."""

from __future__ import annotations

import shutil
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from nasfpn_runtime.errors import DataError

# Exceptions of zipfile on contents that it cannot read. RuntimeError is raised for an encrypted
# member, and its subclass NotImplementedError for an unknown compression.
_UNREADABLE = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError)
_MACOS_FOLDER = "__MACOSX"  # file attributes that macOS adds to archives


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a zip archive to a new folder, after checking every member.

    If all members are in one common folder, that folder is left out of their paths.

    Raises:
        DataError: the archive is broken or encrypted; a member is not a regular file or folder,
            would lie outside the folder, or is a duplicate; or the declared sizes add up to more
            than the free space of the disk. Nothing is written unless all members pass.
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
        raise DataError(f"cannot unpack {archive}: {error}") from None


def _checked(source: zipfile.ZipFile, archive: Path) -> dict[PurePosixPath, zipfile.ZipInfo]:
    """Return the members to unpack by path, after checking all of them."""
    members: dict[PurePosixPath, zipfile.ZipInfo] = {}
    for member in source.infolist():
        name = member.filename
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name or not path.parts:
            rule = "must stay in its folder"
        elif stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
            rule = "must be a regular file or folder"
        elif path in members:
            rule = "must not be a duplicate"
        else:
            if path.parts[0] != _MACOS_FOLDER:
                members[path] = member
            continue
        raise DataError(f"a member of an archive {rule}, got {name!r} (at {archive})")
    return members


def _check_room(members: dict[PurePosixPath, zipfile.ZipInfo], archive: Path) -> None:
    # zipfile reads no more of a member than its declared size, so a false size does no harm.
    needed = sum(member.file_size for member in members.values())
    free = shutil.disk_usage(archive.parent).free
    if needed > free:
        raise DataError(
            f"cannot unpack {archive}: its members need {needed >> 20:,} MB, and only "
            f"{free >> 20:,} MB of the disk are free"
        )


def _common_folder(members: dict[PurePosixPath, zipfile.ZipInfo]) -> PurePosixPath:
    """Return the folder that all members are in, or the empty path."""
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
