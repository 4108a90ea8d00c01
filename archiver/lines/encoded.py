"""Bytes of any make as numbered lines of text: compressed or not, in whatever encoding, with lines of any length.

What is no text where it stands is replaced and reported with its line, and a line that is too long for anybody is
handed out in pieces: neither stops the rest. This file opens nothing and knows no format.
"""

import codecs
import io
import re
import zlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, BinaryIO, cast

from archiver.lines import Broken

if TYPE_CHECKING:
    from typing_extensions import Buffer

LONGEST_LINE = 8 * 1024 * 1024
"""Characters. A longer line is never held as a whole."""
PIECE = 64 * 1024
HEAD = 64 * 1024
_SEAM = 16 * 1024  # longer than any URL

_NO_UTF8 = re.compile("[\udc80-\udcff]")
_PLAIN_HANZI = re.compile(rb"(?:[\x00-\x7f]|[\xa1-\xa9\xb0-\xf7][\xa1-\xfe])*")
"""GB2312: what people write. The rest of GB18030 is what other encodings look like in it."""
_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


class Text:
    """The text of a stream. `number` is the line that was read last, from 1; `troubles` collects what was replaced.

    `overlong` is called with the number and one piece of a line that is longer than `LONGEST_LINE`; an empty line
    stands for it among the others. Raises LookupError for an encoding that there is not.
    """

    def __init__(
        self,
        stream: BinaryIO,
        *,
        encoding: str | None = None,
        overlong: Callable[[int, str], None] = lambda _number, _piece: None,
    ) -> None:
        self._unpacking: _Unpacked | None = None
        unpacked = stream if isinstance(stream, io.BufferedReader) else io.BufferedReader(cast("io.RawIOBase", stream))
        if unpacked.peek(2)[:2] == b"\x1f\x8b":
            self._unpacking = _Unpacked(unpacked)
            unpacked = io.BufferedReader(self._unpacking, 256 * 1024)
        self.number = 0
        self.troubles: list[Broken] = []
        self._overlong = overlong
        self._is_utf8 = encoding is None
        self._has_utf8 = False
        name = encoding or _name(unpacked.peek(HEAD)[:4])
        self._is_utf8 = name == "utf-8-sig"
        errors = "surrogateescape" if self._is_utf8 else "replace"
        self._text = io.TextIOWrapper(unpacked, encoding=codecs.lookup(name).name, errors=errors, newline="")
        self._kept: list[str] = []

    def head(self) -> str:
        """The beginning of the text, up to `HEAD` characters, without reading it away."""
        if not self._kept:
            while sum(map(len, self._kept)) < HEAD and (line := self._next(HEAD)):
                self._kept.append(line)
        return "".join(self._kept)[:HEAD]

    def close(self) -> None:
        """Close the stream too."""
        self._text.close()

    def lines(self) -> Iterator[str]:
        """Every line, with the sign that ends it."""
        while line := self._whole_line():
            self.number += 1
            if len(line) >= LONGEST_LINE and line[-1] not in "\r\n":
                self._in_pieces(line)
                yield "\n"
            else:
                yield line if line.isascii() else self._clean(line)

    def pieces(self) -> Iterator[str]:
        """All of the text, in pieces of some size; `number` counts the lines that are read."""
        while line := (self._kept.pop(0) if self._kept else self._next(PIECE)):
            self.number += line.endswith("\n")
            yield line if line.isascii() else self._clean(line)

    def _whole_line(self) -> str:
        if not self._kept:
            return self._next(LONGEST_LINE)
        line = self._kept.pop(0)
        while len(line) < LONGEST_LINE and line[-1] not in "\r\n":
            rest = self._kept.pop(0) if self._kept else self._next(LONGEST_LINE - len(line))
            if not rest:
                break
            line += rest
        return line

    def _in_pieces(self, line: str) -> None:
        self.troubles.append(
            Broken(
                number=self.number,
                reason=f"longer than {LONGEST_LINE // 1024**2} million characters: searched for URLs as plain text",
            )
        )
        tail = ""
        while line:
            is_last = line[-1] in "\r\n"
            text = tail + line
            cut = len(text)
            if not is_last:  # a URL that goes on in the next piece is read there
                cut = max(cut - _SEAM, *(text.rfind(sign, cut - _SEAM) for sign in ' "<>\t'))
            self._overlong(self.number, text[:cut])
            tail = text[cut:]
            line = "" if is_last else self._next(PIECE * 16)
        if tail:
            self._overlong(self.number, tail)

    def _next(self, most: int) -> str:
        line = self._text.readline(most)
        if not line and self._unpacking is not None and self._unpacking.is_cut:
            self._unpacking = None  # it is said once
            reason = "the compressed file is cut or damaged here; what follows is lost"
            self.troubles.append(Broken(number=self.number + 1, reason=reason))
        return line

    def _clean(self, line: str) -> str:
        """The line as people meant it: what is no UTF-8 may be GB18030, else each foreign byte becomes U+FFFD."""
        if not self._is_utf8:
            if "\ufffd" in line:
                self.troubles.append(Broken(number=self.number, reason="bytes that are no text became U+FFFD"))
            return line
        if not _NO_UTF8.search(line):
            self._has_utf8 = True
            return line
        raw = line.encode("utf-8", "surrogateescape")
        if not self._has_utf8 and _PLAIN_HANZI.fullmatch(raw):
            return raw.decode("gb18030")
        self.troubles.append(
            Broken(number=self.number, reason="not UTF-8 text: its bytes became U+FFFD; --encoding names another one")
        )
        return _NO_UTF8.sub("\ufffd", line)


class _Unpacked(io.RawIOBase):
    """What was gzipped, in one member or several. Of a file that was cut or damaged, everything comes that stands
    before that place, and `is_cut` is set: the standard library's reader would drop the last of it."""

    def __init__(self, packed: io.BufferedReader) -> None:
        self._packed = packed
        self.is_cut = False
        self._waiting = b""
        self._machine = zlib.decompressobj(wbits=31)

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: "Buffer") -> int:
        """The next bytes, 0 at the end."""
        space = memoryview(buffer)
        while True:
            if self._machine.eof:
                self._waiting = (self._machine.unused_data or self._packed.read(PIECE)).lstrip(b"\0")
                if not self._waiting:
                    return 0
                self._machine = zlib.decompressobj(wbits=31)
            packed = self._waiting or self._packed.read(PIECE)
            try:
                data = self._machine.decompress(packed, len(space))
            except zlib.error:
                packed = data = b""
            self._waiting = self._machine.unconsumed_tail
            if data:
                space[: len(data)] = data
                return len(data)
            if not packed:
                self.is_cut = True
                return 0


def _name(start: bytes) -> str:
    """The encoding by the first bytes."""
    for mark, name in _MARKS:
        if start.startswith(mark):
            return name
    if len(start) >= 4 and start[1] == start[3] == 0 and start[0] and start[2]:
        return "utf-16-le"
    return "utf-8-sig"
