"""Files of samples as rows of (seconds, value), whatever their form, and what was odd about them."""

import bz2
import csv
import datetime as dt
import gzip
import io
import math
import re
import tarfile
import zlib
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, Final, cast

MOST_BYTES: Final = 1 << 28
"""Of text, after it was unpacked: half a year of seconds with their times. More is no trace, or a bomb."""

MOST_VALUE: Final = 1e15
"""Whatever is demanded, a larger number is a mistake, and sums of it are no longer exact."""

MOST_ROWS: Final = 20_000_000
"""Seven months of seconds. 250 MB of `1` in lines are 125 million, which a .gz holds in 1 MB."""

_PIECE_BYTES: Final = 1 << 20
_MOST_COLUMNS: Final = 1_000
_MOST_HEADERS: Final = 20
_SNIFFED: Final = 50
_MILLIS_FROM: Final = 1e11
"""Seconds reach this in the year 5138, milliseconds did in 1973."""

_WORD: Final = re.compile(r"\S+")
_QUOTED: Final = re.compile(r'"[^"]*"')
_COMMAS: Final = re.compile(r"[+-]?\d+(,\d+)+(\.\d+)?")
_UTC: Final = dt.UTC
_ABSENT: Final = frozenset(
    {"", "nan", "null", "none", "na", "n/a", "-", "inf", "+inf", "-inf", "infinity", "-infinity"}
)


_TIMES: Final = frozenset({"time", "timestamp", "date", "datetime", "when", "ts", "unix", "epoch", "instant"})
"""Headings of a column of times."""


class TraceError(ValueError):
    """A file that is no trace; the sentence says what is wrong with it and what to do, `code` is stable."""

    def __init__(self, text: str, code: str = "TraceUnreadable") -> None:
        super().__init__(text)
        self.code = code


@dataclass(slots=True)
class Rows:
    """What a file says. A value is NaN where its row says none; `times` is empty where the file has none."""

    times: "array[float]" = field(default_factory=lambda: array("d"))
    values: "array[float]" = field(default_factory=lambda: array("d"))
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
        self.keep(value)
        return True

    def keep(self, value: float) -> None:
        """One more row; too many are refused."""
        if len(self.values) >= MOST_ROWS:
            raise too_many("The trace")
        self.values.append(value)

    @property
    def all(self) -> int:
        """Rows in the file, those that cannot be read among them."""
        return len(self.values) + (self.unreadable if self.times else 0)


def too_many(what: str) -> TraceError:
    """The refusal of more than `MOST_ROWS`."""
    return TraceError(
        f"{what} has more than {MOST_ROWS:,} rows; no longer one is read. Give a part of it, or means of longer steps.",
        "TraceTooLong",
    )


def read(path: Path, column: str | None = None) -> Rows:
    """The file's rows: `time,value` with any of `, ; tab`, or values alone, one a line or many; packed by gzip, bzip2 or tar.

    `column` is the heading or the number (from 1) of the values; without it they are the second column, or the only one.

    Raises:
        TraceError: it cannot be opened, is too large, or has no such column.
    """
    data = unpacked(path)
    if data.count(b"\n") > MOST_ROWS:
        raise too_many(str(path))
    tried = list(islice(_lines(data), _SNIFFED))
    remarks = sum(line.startswith("#") for line in _lines(data, remarks=True)) if b"#" in data else 0
    if not tried and not remarks:
        raise TraceError(
            f"{path} is empty: a trace has one sample a line, as `time,value` or as a value alone."
        )
    separator = _separator(tried)
    if len(tried) == 1:
        read = _alone([re.sub("[,;\t]", " ", tried[0])])
    elif separator is None and not _is_pairs(tried):
        read = _alone(_lines(data))
    else:
        read = _columns(_lines(data), separator, *_places(path, tried, separator, column))
    read.headers += remarks
    return read


def _lines(data: bytes, *, remarks: bool = False) -> Iterator[str]:
    """The text's lines one by one, since all of them at once take ten times the file; empty ones are left out."""
    for line in io.TextIOWrapper(io.BytesIO(data), "utf-8-sig", "replace"):
        if line.strip() and (remarks or not line.startswith("#")):
            yield line


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
            data = b"".join(_pieces(packed))
    except (OSError, EOFError, zlib.error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise TraceError(f"The trace {path} cannot be read: {reason}.") from None
    if len(data) > MOST_BYTES:
        raise TraceError(f"{path} has more than {MOST_BYTES:,} bytes of text; no longer trace is read.")
    return _untarred(path, data) if data[257:262] == b"ustar" else data


def _pieces(stream: IO[bytes]) -> Iterator[bytes]:
    """The stream piece by piece, up to one byte more than may be: asked for at once, that much is set aside for any file."""
    left = MOST_BYTES + 1
    while left and (piece := stream.read(min(left, _PIECE_BYTES))):
        left -= len(piece)
        yield piece


def _untarred(path: Path, data: bytes) -> bytes:
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
            files = [member for member in archive.getmembers() if member.isfile()]
            if len(files) != 1:
                names = ", ".join(member.name for member in files[:5])
                raise TraceError(
                    f"{path} holds {len(files)} files ({names}); a trace is one. Unpack it and name that one."
                )
            if files[0].size > len(data):  # of a sparse file, which is longer than what is kept of it
                raise TraceError(f"{path} says that {files[0].name} is longer than the whole archive.")
            stream = archive.extractfile(files[0])
            assert stream is not None, files
            return stream.read()
    except (tarfile.TarError, OSError, EOFError, UnicodeDecodeError) as error:
        raise TraceError(f"{path} looks like a tar archive, and is a broken one: {error}.") from None


def _separator(lines: list[str]) -> str | None:
    tried = lines[:_SNIFFED]
    for one in (",", ";", "\t"):
        if sum(one in _QUOTED.sub("", line) for line in tried) * 2 > len(tried):
            return one
    return None


def _is_pairs(lines: list[str]) -> bool:
    """Whether lines without a separator say a time and a value: two words, or a date, a time of day and a value."""
    tried = [line.split(None, 4) for line in lines[:_SNIFFED]]
    dated = sum(len(words) == 3 and "-" in words[0] and ":" in words[1] for words in tried)  # noqa: PLR2004
    paired = sum(len(words) == 2 for words in tried)  # noqa: PLR2004
    return len(lines) > 1 and 2 * max(dated, paired) > len(tried)


def _alone(lines: Iterable[str]) -> Rows:
    """Values in the order of the file, however many stand in a line. Each keeps its place, so that a bad one is a gap."""
    rows = Rows()
    for line in lines:
        for found in _WORD.finditer(line):
            word = found[0]
            if rows.take(word):
                continue
            _require_plain(word.strip('"'))
            if not rows.values and rows.headers < _MOST_HEADERS:
                rows.headers += 1
                break
            rows.unreadable += 1
            rows.keep(math.nan)
    return rows


def _columns(lines: Iterable[str], separator: str | None, at: int, time_at: int | None) -> Rows:
    rows = Rows()
    least = max(at, time_at or 0)
    for line in lines:
        cells = _cells(line, separator)
        whole = least < len(cells)
        time = _seconds(cells[time_at]) if whole and time_at is not None else 0.0
        if whole and time is not None and rows.take(cells[at]):
            if time_at is not None:
                rows.times.append(time)
            continue
        if whole:
            _require_plain(cells[at])
        if not rows.values and rows.headers < _MOST_HEADERS:
            rows.headers += 1
        else:
            rows.unreadable += 1
            if time_at is None:
                rows.keep(math.nan)
    return rows


def _require_plain(word: str) -> None:
    """It is no number with commas: the rows that have none in theirs would be a trace without its large, or its small, values."""
    if _COMMAS.fullmatch(word):
        raise TraceError(
            f"A value is written {word!a:.40}: its commas may mean thousands or decimals. Write the values without thousands, and "
            "decimals behind a point.",
            "TraceCommas",
        )


def _cells(line: str, separator: str | None) -> list[str]:
    if separator is not None:
        cells = _unquoted(line, separator) if '"' in line else line.split(separator, _MOST_COLUMNS)
        return [cell.strip().strip('"') for cell in cells]
    words = line.rsplit(None, 1)
    return [" ".join(words[0].split(None, _MOST_COLUMNS)), words[1]] if len(words) > 1 else words


def _unquoted(line: str, separator: str) -> list[str]:
    """The cells of a line in which a separator between quotation marks is none; as it stands where those do not fit."""
    try:
        [cells] = csv.reader([line], delimiter=separator, skipinitialspace=True)
        return cells[: _MOST_COLUMNS + 1]
    except (csv.Error, ValueError):
        return line.split(separator, _MOST_COLUMNS)


def _places(
    path: Path, lines: list[str], separator: str | None, column: str | None
) -> tuple[int, int | None]:
    """Where the values stand, and where the times, from 0. The heading is the first line with as many cells as most lines have.

    Times are the first column, or one whose heading is a word for times; values are the next one, or the one before the last.
    """
    tried = [_cells(line, separator) for line in lines]
    widths = sorted(len(cells) for cells in tried)
    usual = widths[len(widths) // 2]
    heading = next(cells for cells in tried if len(cells) == usual)
    headed = [place for place, name in enumerate(heading) if name.lower() in _TIMES]
    time_at = headed[0] if headed else 0
    if column is None:
        at = time_at + 1 if time_at + 1 < usual else max(0, time_at - 1)
    elif column in heading:
        at = heading.index(column)
    elif column.isascii() and column.isdecimal() and 1 <= int(column) <= usual:
        at = int(column) - 1
    else:
        names = ", ".join(f"{name!a:.30}" for name in heading[:8])
        raise TraceError(
            f"{path} has no column {column!a:.40}: its first line has {usual} ({names}).", "TraceNoColumn"
        )
    return at, None if at == time_at else time_at


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
