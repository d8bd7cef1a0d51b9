"""The traces under a directory: those that are known are read as docs/prediction.md says, of any other the step is inferred.

A folder gives its name to its main file; further files of it are called `folder/file`.
"""

import datetime as dt
import itertools
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from replay.backtest import rows
from replay.backtest.rows import TraceError
from replay.backtest.trace import Trace, gridded, load

_FORMS: Final = ("*.csv", "*.csv.gz", "*.csv.bz2", "*.tbz2", "*.txt.gz", "*.tsv")
_DAY: Final = 86_400


@dataclass(frozen=True, slots=True)
class Found:
    """A trace by its name; read when it is its turn. A main one is also drawn, and set beside the slower rules.

    `is_again` is a second reading of a file that another trace was made of.
    """

    name: str
    path: Path
    read: Callable[[Path], Trace]
    is_main: bool
    is_again: bool = False


def _nasa(path: Path) -> Trace:
    """Requests per second, too few to size a VM by a quantile of seconds: means of 5 s; the outage of 37.7 h is a gap."""
    return load(path, 1, outage_hours=6).averaged(5)


def _nasa_seconds(path: Path) -> Trace:
    return load(path, 1)


def _cup(path: Path) -> Trace:
    """From a week before the first match to the final."""
    begin, end = dt.datetime(1998, 6, 2, tzinfo=dt.UTC), dt.datetime(1998, 7, 13, tzinfo=dt.UTC)
    return load(path, 60).between(begin, end)


def _minutes(path: Path) -> Trace:
    return load(path, 60)


def _five(path: Path) -> Trace:
    return load(path, 300)


def _third(path: Path) -> Trace:
    return load(path, 300, column="3")


_KNOWN: Final[dict[str, tuple[tuple[str, str, Callable[[Path], Trace]], ...]]] = {
    "nasa95": (("", "workload.tbz2", _nasa), ("seconds", "workload.tbz2", _nasa_seconds)),
    "worldcup98": (("", "invocation_count.csv", _cup), ("whole", "invocation_count.csv", _minutes)),
    "isp_uk": (("", "it_uk_5m.csv", _five),),
    "google2011": (("", "gg_cpu_5m.csv", _five), ("gg_ram_5m", "gg_ram_5m.csv", _third)),
    "nab": (("", "elb_request_count_8c0756.csv", _five),),
}


def found(directory: Path) -> Iterator[Found]:
    """Every trace, main ones first within their folder."""
    folders = sorted(path for path in directory.iterdir() if path.is_dir() and not path.name.startswith("."))
    for folder in folders:
        known = [one for one in _KNOWN.get(folder.name, ()) if (folder / one[1]).is_file()]
        for name, file, read in known:
            again = bool(name) and name != _stem(folder / file)
            yield Found(
                f"{folder.name}/{name}" if name else folder.name, folder / file, read, not name, again
            )
        read_already = {folder / file for _, file, _ in known}
        others = [path for path in _files(folder) if path not in read_already]
        for number, path in enumerate(others):
            is_main = not known and number == 0
            yield Found(
                folder.name if is_main else f"{folder.name}/{_stem(path)}", path, _inferred, is_main=is_main
            )
    for path in _files(directory):
        yield Found(_stem(path), path, _inferred, is_main=True)


def _files(folder: Path) -> list[Path]:
    return sorted({path for form in _FORMS for path in folder.glob(form) if path.is_file()})


def _stem(path: Path) -> str:
    return path.name.split(".", 1)[0]


def _inferred(path: Path) -> Trace:
    """The step is the usual distance of two rows; where rows have no times, what makes the trace longer than eight days."""
    read = rows.read(path)
    if len(read.times) > 1:
        step = round(statistics.median(b - a for a, b in itertools.pairwise(read.times)))
    else:
        step = next((one for one in (1, 5, 60) if len(read.values) * one >= 8 * _DAY), 300)
    if step < 1:
        raise TraceError(
            f"The rows of {path} are closer together than a second; a trace has a step of whole seconds."
        )
    return gridded(path.name, read, step)
