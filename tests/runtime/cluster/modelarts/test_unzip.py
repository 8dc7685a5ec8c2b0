"""Unpacking of archives: common folders, harmful members, sizes, and damage anywhere."""

from __future__ import annotations

import stat
import zipfile
from pathlib import Path

import pytest

from nasfpn_runtime.cluster.modelarts.unzip import unpack
from nasfpn_runtime.errors import DataError
from obs_folder import tree


def write_archive(path: Path, members: dict[str, str], **attributes: int) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for name, text in members.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            for attribute, value in attributes.items():
                setattr(info, attribute, value)
            target.writestr(info, text)
    return path


@pytest.mark.parametrize(
    ("members", "files"),
    [
        ({"a.txt": "1", "b/c.txt": "2"}, {"a.txt": "1", "b/c.txt": "2"}),
        ({"d/a.txt": "1", "d/b/c.txt": "2"}, {"a.txt": "1", "b/c.txt": "2"}),
        ({"d/": "", "d/a.txt": "1"}, {"a.txt": "1"}),
        ({"d/a.txt": "1", "d2/a.txt": "2"}, {"d/a.txt": "1", "d2/a.txt": "2"}),
        ({"d": "1"}, {"d": "1"}),
        ({"d/a": "1", "__MACOSX/d/._a": "x"}, {"a": "1"}),
        ({}, {}),
    ],
)
def test_a_folder_common_to_all_members_is_left_out(
    tmp_path: Path, members: dict[str, str], files: dict[str, str]
) -> None:
    unpack(write_archive(tmp_path / "a.zip", members), tmp_path / "out")
    assert tree(tmp_path / "out") == files


LINK = {"external_attr": (stat.S_IFLNK | 0o777) << 16}
DEVICE = {"external_attr": (stat.S_IFCHR | 0o666) << 16}
PIPE = {"external_attr": (stat.S_IFIFO | 0o666) << 16}


@pytest.mark.parametrize(
    ("name", "attributes", "rule"),
    [
        ("../evil", {}, "must stay in its folder"),
        ("good/../../evil", {}, "must stay in its folder"),
        ("/evil", {}, "must stay in its folder"),
        ("..\\evil", {}, "must stay in its folder"),
        ("__MACOSX/../../evil", {}, "must stay in its folder"),
        ("./", {}, "must stay in its folder"),
        ("link", LINK, "must be a regular file or folder"),
        ("device", DEVICE, "must be a regular file or folder"),
        ("pipe", PIPE, "must be a regular file or folder"),
        ("good/a.txt", {}, "must not be a duplicate"),
    ],
)
def test_a_harmful_member_stops_the_archive(
    tmp_path: Path, name: str, attributes: dict[str, int], rule: str
) -> None:
    archive = write_archive(tmp_path / "a.zip", {"good/a.txt": "1"})
    with zipfile.ZipFile(archive, "a") as target:
        info = zipfile.ZipInfo("placeholder")
        info.filename = name  # the constructor would change some names
        for attribute, value in attributes.items():
            setattr(info, attribute, value)
        if name == "good/a.txt":
            with pytest.warns(UserWarning, match="Duplicate name"):
                target.writestr(info, "2")
        else:
            target.writestr(info, "2")
    folder = tmp_path / "inner" / "out"
    folder.parent.mkdir()
    with pytest.raises(DataError) as caught:
        unpack(archive, folder)
    assert str(caught.value) == (f"a member of an archive {rule}, got {name!r} (at {archive})")
    assert sorted(tmp_path.rglob("*")) == [archive, folder.parent]


def test_an_archive_larger_than_the_free_space_is_refused(
    tmp_path: Path,
) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as target:
        target.writestr("zeros", "0" * 1000)
        target.filelist[0].file_size = 2**60  # written to the central directory
    with pytest.raises(
        DataError,
        # 2^60 B are 2^40 MB
        match=r"a\.zip: .* 1,099,511,627,776 MB, .* [\d,]+ MB ",
    ):
        unpack(tmp_path / "a.zip", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_member_larger_than_its_declared_size_is_refused(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "a.zip", {"zeros": "0" * 100_000})
    content = bytearray(archive.read_bytes())
    for mark, offset in ((b"PK\1\2", 24), (b"PK\3\4", 22)):
        start = content.index(mark) + offset
        content[start : start + 4] = (10).to_bytes(4, "little")
    archive.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.zip: Bad CRC-32"):
        unpack(archive, tmp_path / "out")
    assert (tmp_path / "out" / "zeros").stat().st_size <= 10


@pytest.mark.parametrize(
    ("field", "value", "message"),
    # Offsets in the local header of a member. In the central directory they are 2 bytes further.
    [(6, 1, "encrypted"), (8, 99, "compression method is not supported")],
)
def test_a_member_that_cannot_be_unpacked_is_named(
    tmp_path: Path, field: int, value: int, message: str
) -> None:
    archive = write_archive(tmp_path / "a.zip", {"a.txt": "1"})
    content = bytearray(archive.read_bytes())
    for mark, offset in ((b"PK\3\4", field), (b"PK\1\2", field + 2)):
        content[content.index(mark) + offset] = value
    archive.write_bytes(content)
    with pytest.raises(DataError, match=rf"a\.zip: .*{message}"):
        unpack(archive, tmp_path / "out")


def test_a_broken_archive_is_named_wherever_it_is_broken(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "a.zip", {f"{n}.txt": f"{n}" * 50 for n in range(3)})
    content = archive.read_bytes()
    for length in range(0, len(content), 7):
        archive.write_bytes(content[:length])
        with pytest.raises(DataError, match=f"cannot unpack {archive}: "):
            unpack(archive, tmp_path / f"out{length}")
    messages = []
    for i in range(0, len(content), 5):
        archive.write_bytes(content[:i] + bytes([content[i] ^ 0xFF]) + content[i + 1 :])
        try:
            unpack(archive, tmp_path / f"flip{i}")
        except (DataError, OSError) as error:
            messages.append(str(error))
    assert len(messages) > 10
    assert not any("\n" in message for message in messages)
