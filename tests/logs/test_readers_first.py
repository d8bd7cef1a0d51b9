"""No program writes what the release before it cannot read.

`readers.txt` has a line for each event version: its tag, and the first release whose programs read it. A line is added with the
row of the registry, with the release that is being made, and never changed. Whoever ships a new version or a new event gives
its row `written=False`, and takes that away when the next release is made. Events of the first release have nobody before them.
"""

import tomllib
from collections.abc import Iterable
from pathlib import Path

import msgspec
import pytest

from events import envelope, registry, v1
from events.envelope import address, read
from events.pool import PoolDefined
from events.registry import BY_TAG, ROWS, WRITTEN, Row, newest_written
from tests.logs.golden import LEDGERS, messages
from tests.logs.test_golden_ledgers import deletions

READERS = Path(__file__).parent / "readers.txt"
Release = tuple[int, ...]


def release(text: str) -> Release:
    """`0.1.0.dev0` is on its way to `0.1.0`."""
    return tuple(int(part) for part in text.split(".dev", maxsplit=1)[0].split("."))


def early(written: Iterable[Row], since: dict[str, Release], now: Release) -> list[str]:
    """The events that the release `now` writes although no release before it reads them."""
    first = min(since.values())
    return sorted(row.tag for row in written if first < since[row.tag] and since[row.tag] >= now)


def since() -> dict[str, Release]:
    lines = [line.split(" ") for line in READERS.read_text(encoding="utf-8").splitlines()]
    assert len({tag for tag, _ in lines}) == len(lines)
    return {tag: release(text) for tag, text in lines}


def this_release() -> Release:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    return release(project["project"]["version"])


def test_nothing_is_written_that_the_release_before_cannot_read() -> None:
    now = ".".join(map(str, this_release()))
    missing = [f"{row.tag} {now}" for row in ROWS if row.tag not in since()]
    assert missing == [], f"new versions of events: append these lines to {READERS.name}"
    assert set(since()) == set(BY_TAG)
    assert max(since().values()) <= this_release()
    assert early(WRITTEN.values(), since(), this_release()) == [], (
        "give the row `written=False` for one release"
    )
    assert deletions(READERS) == 0


def rows(*, written: bool) -> tuple[Row, ...]:
    """Pools as they are, or as they would be in the release that only reads version 2."""
    first, second = BY_TAG["pool.defined.v1"], BY_TAG["pool.defined.v2"]
    return (first, Row(second.name, 2, second.struct, second.writer, second.kind, written=written))


@pytest.mark.parametrize(
    ("read_since", "now", "found"),
    [
        ("0.2.0", "0.2.0", ["pool.defined.v2"]),
        ("0.2.0", "0.3.0", []),
        ("0.2.0", "0.2.1", []),
        ("0.1.0", "0.1.0", []),
    ],
    ids=["its readers are not out", "they are", "they are, since a moment", "all come together"],
)
def test_a_version_is_written_one_release_after_it_is_read(
    read_since: str, now: str, found: list[str]
) -> None:
    known = {"pool.defined.v1": release("0.1.0"), "pool.defined.v2": release(read_since)}
    assert early(newest_written(rows(written=True)).values(), known, release(now)) == found
    assert early(newest_written(rows(written=False)).values(), known, release(now)) == []


def test_an_event_that_is_only_read_yet_is_written_in_the_version_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(envelope, "WRITTEN", newest_written(rows(written=False)))
    (stored, *_) = (
        one for one in messages(LEDGERS / "before-contracts.log") if b"pool.defined.v1" in one.payload
    )
    raised = read(stored.seq, stored.stored_ns, stored.payload, stored.subject)
    assert isinstance(raised.fact, PoolDefined)
    former = msgspec.json.decode(
        msgspec.json.decode(stored.payload, type=envelope.Envelope).data, type=v1.PoolDefined
    )

    def write(fact: PoolDefined | v1.PoolDefined) -> bytes:
        return address(
            fact,
            writer="gate",
            id=raised.id,
            time=raised.time,
            cause=raised.cause,
            correlation=raised.correlation,
        ).payload

    assert write(former) == stored.payload
    with pytest.raises(KeyError):
        write(raised.fact)


def test_rows_of_one_event_stand_in_the_order_of_their_versions() -> None:
    for name in {row.name for row in registry.ROWS}:
        versions = [row.version for row in registry.ROWS if row.name == name]
        assert versions == [*range(1, len(versions) + 1)]
