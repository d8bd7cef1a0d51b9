"""Files of samples as rows of (seconds, value), whatever their form, and what was odd about them."""

import bz2
import datetime as dt
import gzip
import io
import math
import re
import tarfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final, cast

MOST_BYTES: Final = 1 << 28
"""Of text, after it was unpacked: half a year of seconds with their times. More is no trace, or a bomb."""

MOST_VALUE: Final = 1e15
"""Whatever is demanded, a larger number is a mistake, and sums of it are no longer exact."""

_MOST_HEADERS: Final = 20
_SNIFFED: Final = 50
_MILLIS_FROM: Final = 1e11
"""Seconds reach this in the year 5138, milliseconds did in 1973."""

_UTC: Final = dt.UTC
_ABSENT: Final = frozenset(
    {"", "nan", "null", "none", "na", "n/a", "-", "inf", "+inf", "-inf", "infinity", "-infinity"}
)


class TraceError(ValueError):
    """A file that is no trace; the sentence says what is wrong with it and what to do, `code` is stable."""

    def __init__(self, text: str, code: str = "TraceUnreadable") -> None:
        super().__init__(text)
        self.code = code


@dataclass(slots=True)
class Rows:
    """What a file says. A value is NaN where its row says none; `times` is empty where the file has none."""

    times: list[float] = field(default_factory=list[float])
    values: list[float] = field(default_factory=list[float])
    headers: int = 0
    unreadable: int = 0
    negative: int = 0
    absent: int = 0

    def take(self, word: str) -> bool:
        """Whether the word is a value; a negative or absent one is kept as no value, so that it leaves a gap."""
        try:
            value = float(word)
        except ValueError:
            if word.lower() not in _ABSENT:
                return False
            value = math.nan
        if abs(value) > MOST_VALUE and not math.isinf(value):
            return False
        if not math.isfinite(value):
            self.absent += 1
            value = math.nan
        elif value < 0:
            self.negative += 1
            value = math.nan
        self.values.append(value)
        return True


def read(path: Path, column: str | None = None) -> Rows:
    """The file's rows: `time,value` with any of `, ; tab`, or values alone, one a line or many; packed by gzip, bzip2 or tar.

    `column` is the heading or the number (from 1) of the values; without it they are the second column, or the only one.

    Raises:
        TraceError: it cannot be opened, is too large, or has no such column.
    """
    lines = unpacked(path).decode("utf-8-sig", errors="replace").splitlines()
    lines = [line for line in lines if line.strip()]
    if not lines:
        raise TraceError(
            f"{path} is empty: a trace has one sample a line, as `time,value` or as a value alone."
        )
    said = [line for line in lines if not line.startswith("#")]
    separator = _separator(said)
    if len(said) == 1:
        read = _alone([re.sub("[,;\t]", " ", said[0])])
    elif separator is None and not _is_pairs(said):
        read = _alone(said)
    else:
        read = _columns(path, said, separator, column)
    read.headers += len(lines) - len(said)
    return read


def unpacked(path: Path) -> bytes:
    """The file's text. What it is packed in is told by its first bytes, since names lie."""
    try:
        with path.open("rb") as stream:
            head = stream.read(4)
            stream.seek(0)
            packed: IO[bytes] = stream
            if head.startswith(b"\x1f\x8b"):
                packed = cast("IO[bytes]", gzip.GzipFile(fileobj=stream))
            elif head.startswith(b"BZh"):
                packed = bz2.BZ2File(stream)
            data = packed.read(MOST_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise TraceError(f"The trace {path} cannot be read: {reason}.") from None
    if len(data) > MOST_BYTES:
        raise TraceError(f"{path} has more than {MOST_BYTES:,} bytes of text; no longer trace is read.")
    return _untarred(path, data) if data[257:262] == b"ustar" else data


def _untarred(path: Path, data: bytes) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        files = [member for member in archive.getmembers() if member.isfile()]
        if len(files) != 1:
            names = ", ".join(member.name for member in files[:5])
            raise TraceError(
                f"{path} holds {len(files)} files ({names}); a trace is one. Unpack it and name that one."
            )
        stream = archive.extractfile(files[0])
        assert stream is not None, files
        return stream.read()


def _separator(lines: list[str]) -> str | None:
    tried = lines[:_SNIFFED]
    for one in (",", ";", "\t"):
        if sum(one in line for line in tried) * 2 > len(tried):
            return one
    return None


def _is_pairs(lines: list[str]) -> bool:
    """Whether lines without a separator say a time and a value: two words, or a date, a time of day and a value."""
    tried = [line.split(None, 4) for line in lines[:_SNIFFED]]
    dated = sum(len(words) == 3 and "-" in words[0] and ":" in words[1] for words in tried)  # noqa: PLR2004
    paired = sum(len(words) == 2 for words in tried)  # noqa: PLR2004
    return len(lines) > 1 and 2 * max(dated, paired) > len(tried)


def _alone(lines: list[str]) -> Rows:
    """Values in the order of the file, however many stand in a line. Each keeps its place, so that a bad one is a gap."""
    rows = Rows()
    for line in lines:
        for word in line.split():
            if rows.take(word):
                continue
            if not rows.values and rows.headers < _MOST_HEADERS:
                rows.headers += 1
                break
            rows.unreadable += 1
            rows.values.append(math.nan)
    return rows


def _columns(path: Path, lines: list[str], separator: str | None, column: str | None) -> Rows:
    rows = Rows()
    at = _place(path, [_cells(line, separator) for line in lines[:_SNIFFED]], column)
    for line in lines:
        cells = _cells(line, separator)
        time = 0.0 if at == 0 else _seconds(cells[0])
        if time is not None and at < len(cells) and rows.take(cells[at]):
            if at:
                rows.times.append(time)
        elif not rows.values and rows.headers < _MOST_HEADERS:
            rows.headers += 1
        else:
            rows.unreadable += 1
            if not at:
                rows.values.append(math.nan)
    return rows


def _cells(line: str, separator: str | None) -> list[str]:
    if separator is not None:
        return [cell.strip().strip('"') for cell in line.split(separator)]
    words = line.split()
    return [" ".join(words[:-1]), words[-1]] if len(words) > 1 else words


def _place(path: Path, tried: list[list[str]], column: str | None) -> int:
    """Where the values stand, from 0. The heading is the first line with as many cells as most lines have."""
    widths = sorted(len(cells) for cells in tried)
    usual = widths[len(widths) // 2]
    if column is None:
        return min(1, usual - 1)
    heading = next(cells for cells in tried if len(cells) == usual)
    if column in heading:
        return heading.index(column)
    if column.isascii() and column.isdecimal() and 1 <= int(column) <= usual:
        return int(column) - 1
    names = ", ".join(f"{name!a:.30}" for name in heading[:8])
    raise TraceError(
        f"{path} has no column {column!a:.40}: its first line has {usual} ({names}).", "TraceNoColumn"
    )


def _seconds(word: str) -> float | None:
    """Unix seconds of an instant as files write it: ISO 8601 (UTC where it names no zone), or seconds, or finer."""
    try:
        number = float(word)
    except ValueError:
        return _dated(word)
    if not math.isfinite(number):
        return None
    while abs(number) >= _MILLIS_FROM:
        number /= 1000
    return number


def _dated(word: str) -> float | None:
    try:
        found = dt.datetime.fromisoformat(re.sub(r"^(\d{4})/(\d\d)/(\d\d)", r"\1-\2-\3", word))
    except ValueError:
        return None
    return (found if found.tzinfo else found.replace(tzinfo=_UTC)).timestamp()
