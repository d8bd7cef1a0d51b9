"""Explores the small worlds: `python -m tests.model [--quick] [--only WORDS]`.

A line of progress goes to standard error while a world is walked through; the table comes last. The exit code is 1 when
a law was broken, and the ledger in which it was is printed.
"""

import argparse
import sys
from dataclasses import replace

from tests.model.book import Book
from tests.model.explore import Explorer, Found
from tests.model.literal import LiteralSteps
from tests.model.steps import SmallSteps
from tests.model.told import row, story, table
from tests.model.truth import Broken
from tests.model.worlds import ALL, LITERAL, QUICK


def main() -> int:
    """The worlds of the command line were explored; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.model", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="only the worlds that every run of the tests explores"
    )
    parser.add_argument("--only", default="", help="only those whose name has these words")
    arguments = parser.parse_args()
    worlds = [world for world in (QUICK if arguments.quick else ALL) if arguments.only in world.name]
    apart = [world for world in (() if arguments.quick else LITERAL) if arguments.only in world.name]
    found = [coarse(Book(world)) for world in worlds]
    for world in apart:
        found += fine(Book(world))
    _end_progress()
    print(table(found))
    broken = [one for one in found if one.broken]
    print("a law was broken." if broken else "no law was broken.")
    return 1 if broken else 0


def coarse(book: Book) -> Found:
    """The world was walked through; where a law is broken the ledger is printed."""
    return _tell(book, Explorer(SmallSteps(book), progress=_progress).run())


def fine(book: Book) -> list[Found]:
    """The world was walked through twice, once with every step taken apart: the ledgers must be the same."""
    seldom, often = (
        Explorer(SmallSteps(book), progress=_progress),
        Explorer(LiteralSteps(book), progress=_progress),
    )
    found = [
        _tell(book, seldom.run()),
        _tell(book, replace(often.run(), name=f"{book.world.name}, step by step")),
    ]
    strange = often.ledgers() ^ seldom.ledgers()
    for page in sorted(strange)[:1]:
        sentence = f"{len(strange)} ledgers are reached by the steps or by their parts, and not by both"
        found[-1].broken["endless"] = (Broken("endless", sentence), page)
        print(f"{book.world.name}: {sentence}\n{story(book, page)}")
    return found


def _tell(book: Book, found: Found) -> Found:
    _end_progress()
    print("  ".join(row(found)), file=sys.stderr, flush=True)
    for law, (broken, page) in found.broken.items():
        print(f"{found.name} breaks the law {law!r}: {broken.sentence}\n{story(book, page)}", flush=True)
    return found


def _progress(found: Found) -> None:
    line = f"{found.name}: {found.states:,} states in {found.seconds:.0f} s"
    sys.stderr.write(f"\r{line:<100}" if sys.stderr.isatty() else f"{line}\n")
    sys.stderr.flush()


def _end_progress() -> None:
    if sys.stderr.isatty():
        sys.stderr.write("\r" + " " * 100 + "\r")


if __name__ == "__main__":
    sys.exit(main())
