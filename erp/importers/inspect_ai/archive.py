"""The members of a log's archive, one at a time; zstd among them, which Python reads from 3.14 on only."""

from __future__ import annotations

import json
import struct
import zipfile
import zlib
from typing import Any, BinaryIO

import pyarrow

_ZSTD = 93
_LOCAL = struct.Struct("<4s2B4HL2L2H")  # what stands before a member's bytes
_NAMES = 10  # at which of its numbers the length of the name stands, and then that of what is extra


class Archive:
    """A zip whose members are JSON.

    Args:
        stream: its bytes; they must be seekable.

    Raises:
        zipfile.BadZipFile: it is none.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self._zip = stream, zipfile.ZipFile(stream)
        self._members = {info.filename: info for info in self._zip.infolist()}  # what was written again comes last

    def names(self) -> list[str]:
        """Of its members, in order."""
        return list(self._members)

    def json(self, name: str) -> Any:
        """What a member holds.

        Raises:
            ValueError: it is damaged, or no JSON.
        """
        try:
            return json.loads(self._bytes(self._members[name]))
        except (KeyError, EOFError, OSError, zlib.error, zipfile.BadZipFile, RecursionError, NotImplementedError,
                struct.error, RuntimeError) as error:  # fmt: skip
            raise ValueError(str(error) or type(error).__name__) from error

    def _bytes(self, info: zipfile.ZipInfo) -> bytes:
        if info.compress_type != _ZSTD:
            return self._zip.read(info)
        self._stream.seek(info.header_offset)
        numbers = _LOCAL.unpack(self._stream.read(_LOCAL.size))
        self._stream.seek(numbers[_NAMES] + numbers[_NAMES + 1], 1)
        packed = pyarrow.BufferReader(self._stream.read(info.compress_size))
        with pyarrow.CompressedInputStream(packed, "zstd") as plain:
            content: bytes = plain.read()
        if len(content) != info.file_size or zlib.crc32(content) != info.CRC:
            raise zipfile.BadZipFile(f"{info.filename} is damaged")
        return content
