"""Rule files in an archive, as releases come: the TOML files of a zip or tar file, unpacked into a folder."""

from __future__ import annotations

import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from runner.errors import SettingsError
from runner.rules.discovery import reason
from runner.rules.toml_file import LARGEST_FILE

MOST_FILES = 50_000
_BROKEN = (EOFError, RuntimeError, zlib.error, lzma.LZMAError)
_MOST_BYTES = 1 << 30
_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


def is_archive(path: Path) -> bool:
    """Whether a path names an archive, by its suffix."""
    return path.name.lower().endswith(_SUFFIXES) and path.is_file()


def unpack_rules(archive: Path, into: Path) -> int:
    """Write the TOML files of an archive below a folder that is empty; returns how many. Nothing else is written.

    Raises SettingsError if the file is no archive, or is broken.
    """
    count = size = 0
    try:
        for name, data in _members(archive):
            size += len(data)
            if size > _MOST_BYTES:
                raise ValueError(f"more than {_MOST_BYTES >> 20} MiB of TOML files")
            target = into.joinpath(*_safe_parts(name))
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
            count += 1
    except (OSError, ValueError, tarfile.TarError, zipfile.BadZipFile, *_BROKEN) as error:
        why = reason(error) if isinstance(error, (OSError, ValueError)) else str(error)
        raise SettingsError(f"{archive}: cannot be read as an archive: {why}") from None
    return count


def _members(archive: Path) -> Iterator[tuple[str, bytes]]:
    """The names and contents of the TOML files; one over the limit of rule files is cut behind it."""
    left = MOST_FILES
    if archive.name.lower().endswith(".zip"):
        with zipfile.ZipFile(archive) as packed:
            for info in packed.infolist():
                if _is_wanted(info.filename) and (left := _counted(left)):
                    with packed.open(info) as stream:
                        yield info.filename, stream.read(LARGEST_FILE + 1)
        return
    with tarfile.open(archive) as packed_tar:
        for member in packed_tar:
            if member.isreg() and _is_wanted(member.name) and (left := _counted(left)):
                content = packed_tar.extractfile(member)
                if content is not None:
                    yield member.name, content.read(LARGEST_FILE + 1)


def _counted(left: int) -> int:
    if left <= 1:
        raise ValueError(f"more than {MOST_FILES:,} TOML files")
    return left - 1


def _is_wanted(name: str) -> bool:
    return name.endswith(".toml") and not name.endswith(".test.toml")


def _safe_parts(name: str) -> list[str]:
    """The parts of a member's name without those that lead out of the folder."""
    return [part for part in PurePosixPath(name.replace("\\", "/")).parts if part not in ("/", "..", ".")]
