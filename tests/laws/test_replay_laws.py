"""A view is the same however it came to be: at once or in parts, interrupted, from a copy, or kept while things happened."""

import asyncio
import contextlib
import shutil
import sqlite3
import tempfile
from collections.abc import AsyncGenerator, Generator
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.bus.port import Stored, UnansweredError
from events.registry import UnknownEventError
from projections.keeper import TABLES
from replay.history import folding
from replay.views import snapshot
from replay.views.at import passing, standing
from replay.views.diff import between
from replay.views.digest import Digest, digest_of
from replay.views.rebuild import Build, Keep, rebuild
from tests.laws.strength import examples
from tests.simulation.run import run
from tests.support import turns

SEEDS = (1, 2, 3)
"""Worlds with duplicates, refusals with their mails, strays, lost hosts and documents; some hundred events each."""

GROUP = 7


@cache
def lived(seed: int) -> tuple[Stored, ...]:
    """The ledger of a world, and behind it all that was ever told, told again: ids come twice, long after they were over."""
    stored = run(seed).stored
    size = len(stored)
    again = (
        Stored(size + place, stored[-1].stored_ns + place, one.subject, one.id, one.payload)
        for place, one in enumerate(stored, 1)
    )
    return (*stored, *again)


@pytest.fixture(scope="module", autouse=True)
def lives() -> None:
    """The worlds have lived before any test has a loop of its own."""
    for seed in SEEDS:
        lived(seed)


class Ledger:
    """Messages in memory; `stop_at` is where whoever reads is interrupted, once."""

    def __init__(self, messages: tuple[Stored, ...], stop_at: int | None = None) -> None:
        self.messages = messages
        self.stop_at = stop_at
        self.asked: list[int] = []

    async def last(self) -> int:
        return len(self.messages)

    async def read(self, first: int, last: int) -> AsyncGenerator[list[Stored]]:
        self.asked.append(first)
        for at in range(first - 1, last, GROUP):
            group = list(self.messages[at : min(at + GROUP, last)])
            if self.stop_at is not None and group[-1].seq >= self.stop_at:
                self.stop_at = None
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
                await turns(1)
            yield group


@contextlib.contextmanager
def directory() -> Generator[Path]:
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)


async def built(ledger: Ledger, until: int | None = None) -> Digest:
    """The views of the ledger, written once, at the end."""
    with directory() as place:
        return await rebuild(ledger, place / "views.db", until=until)


@pytest.mark.parametrize("seed", SEEDS)
async def test_two_rebuilds_have_the_same_digest_and_not_that_of_another_place(seed: int) -> None:
    ledger = Ledger(lived(seed))
    once = await built(ledger)
    assert await built(ledger) == once
    assert once.seq == len(ledger.messages)
    assert (await built(ledger, until=len(ledger.messages) // 3)).digest != once.digest


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_view_that_is_built_alone_is_what_it_is_among_all(seed: int, tmp_path: Path) -> None:
    ledger = Ledger(lived(seed))
    together = {one.table: one for one in (await built(ledger)).tables}
    for table in TABLES:
        alone = await rebuild(ledger, tmp_path / f"{table.name}.db", [table])
        assert alone.tables == (together[table.name],)
        assert alone.seq == len(ledger.messages)


async def test_an_event_that_nobody_knows_stops_even_a_view_that_takes_hardly_any(tmp_path: Path) -> None:
    [freezes] = [table for table in TABLES if table.name == "freezes"]
    strange = Stored(1, 1, "vs.acme.gate.org.acme.moon.risen", "id", b"{}")
    with pytest.raises(UnknownEventError):
        await rebuild(Ledger((strange,)), tmp_path / "views.db", [freezes])


@examples(30)
@given(seed=st.sampled_from(SEEDS), cuts=st.sets(st.integers(1, 60), max_size=12))
def test_when_rows_are_written_and_what_is_over_forgotten_makes_no_difference(
    seed: int, cuts: set[int]
) -> None:
    async def scene() -> None:
        ledger = Ledger(lived(seed))
        with directory() as place:
            async with passing(place / "views.db") as base:
                build = Build(base, TABLES)
                await build.create()
                groups = 0
                async for last in folding(ledger, [*build.folds, build.touched]):
                    build.seq, groups = last.seq, groups + 1
                    if groups in cuts:
                        await build.write()
                await build.write()
            assert digest_of(place / "views.db") == await built(ledger)

    asyncio.run(scene())


@examples(20)
@given(seed=st.sampled_from(SEEDS), data=st.data())
def test_a_rebuild_that_was_interrupted_goes_on_and_comes_to_the_same(seed: int, data: st.DataObject) -> None:
    size = len(lived(seed))
    stops = data.draw(st.lists(st.integers(GROUP + 1, size), max_size=3).map(sorted))

    async def scene() -> None:
        whole = await built(Ledger(lived(seed)))
        with directory() as place:
            path, begins = place / "views.db", list[int]()
            for stop in stops:
                ledger = Ledger(lived(seed), stop)
                with contextlib.suppress(asyncio.CancelledError):
                    await rebuild(ledger, path)
                begins.append(ledger.asked[-1])
                assert not path.exists()
            assert begins == sorted(begins)
            ledger = Ledger(lived(seed))
            assert await rebuild(ledger, path) == whole == digest_of(path)
            assert not stops or ledger.asked[-1] > 1
            assert [left.name for left in place.iterdir()] == ["views.db"]

    asyncio.run(scene())


@examples(15)
@given(seed=st.sampled_from(SEEDS), data=st.data())
def test_rows_that_are_ahead_of_the_snapshot_are_written_over_with_the_same(
    seed: int, data: st.DataObject
) -> None:
    size = len(lived(seed))
    stop, snapshots = data.draw(st.integers(GROUP + 1, size)), data.draw(st.integers(1, size))

    async def scene() -> None:
        with directory() as place, pytest.MonkeyPatch.context() as patch:
            patch.setattr("replay.views.rebuild._MANY_ROWS", 1)
            patch.setattr("replay.views.rebuild._SNAPSHOT_EVENTS", snapshots)
            path, put = place / "views.db", Keep.put

            async def unless_interrupted(self: Keep, build: Build) -> None:
                if self.due:
                    await put(self, build)

            patch.setattr(Keep, "put", unless_interrupted)
            with contextlib.suppress(asyncio.CancelledError):
                await rebuild(Ledger(lived(seed), stop), path)
            patch.undo()
            assert await rebuild(Ledger(lived(seed)), path) == await built(Ledger(lived(seed)))

    asyncio.run(scene())


async def test_a_bus_that_goes_away_leaves_what_was_read(tmp_path: Path) -> None:
    class Leaving(Ledger):
        async def read(self, first: int, last: int) -> AsyncGenerator[list[Stored]]:
            async for group in super().read(first, last):
                if group[0].seq > 60:
                    raise UnansweredError("Nobody is there.")
                yield group

    with pytest.raises(UnansweredError):
        await rebuild(Leaving(lived(2)), tmp_path / "views.db")
    ledger = Ledger(lived(2))
    assert await rebuild(ledger, tmp_path / "views.db") == await built(Ledger(lived(2)))
    assert ledger.asked[-1] > 50


async def interrupted(path: Path, seed: int) -> None:
    """A rebuild to `path` was interrupted in the middle of the ledger."""
    with contextlib.suppress(asyncio.CancelledError):
        await rebuild(Ledger(lived(seed), len(lived(seed)) // 2), path)


async def test_a_snapshot_of_other_code_is_not_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await interrupted(tmp_path / "views.db", 3)
    monkeypatch.setattr(snapshot, "code", lambda: "another")
    ledger = Ledger(lived(3))
    whole = await rebuild(ledger, tmp_path / "views.db")
    assert ledger.asked == [1]
    monkeypatch.undo()
    assert whole == await built(ledger)


async def test_a_snapshot_is_of_the_code_that_read_although_another_was_installed_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = tmp_path / "installed" / "projections"
    installed.mkdir(parents=True)
    (installed / "__init__.py").write_text("")
    monkeypatch.setattr(snapshot, "projections", SimpleNamespace(__file__=str(installed / "__init__.py")))

    class Upgraded(Ledger):
        async def read(self, first: int, last: int) -> AsyncGenerator[list[Stored]]:
            async for group in super().read(first, last):
                (installed / "fold.py").write_text("newer")
                yield group

    def forget() -> None:
        # As in a process that has just begun.
        snapshot.code.cache_clear()

    forget()
    try:
        with contextlib.suppress(asyncio.CancelledError):
            await rebuild(Upgraded(lived(3), len(lived(3)) // 2), tmp_path / "views.db")
        assert (installed / "fold.py").exists()
        forget()
        ledger = Ledger(lived(3))
        whole = await rebuild(ledger, tmp_path / "views.db")
        assert ledger.asked == [1]
    finally:
        monkeypatch.undo()
        forget()
    assert whole == await built(ledger)


async def test_a_snapshot_with_one_wrong_byte_is_not_looked_into(tmp_path: Path) -> None:
    await interrupted(tmp_path / "views.db", 3)
    base = sqlite3.connect(tmp_path / "views.db.part")
    (folds,) = base.execute("SELECT folds FROM snapshot").fetchone()
    base.execute("UPDATE snapshot SET folds = ?", (folds[:-9] + bytes([folds[-9] ^ 1]) + folds[-8:],))
    base.commit()
    base.close()
    ledger = Ledger(lived(3))
    assert await rebuild(ledger, tmp_path / "views.db") == await built(Ledger(lived(3)))
    assert ledger.asked == [1]


async def test_a_snapshot_that_somebody_else_may_have_written_is_not_looked_into(tmp_path: Path) -> None:
    await interrupted(tmp_path / "views.db", 3)
    part = tmp_path / "views.db.part"
    assert part.stat().st_mode & 0o777 == 0o600
    part.chmod(0o620)
    ledger = Ledger(lived(3))
    await rebuild(ledger, tmp_path / "views.db")
    assert ledger.asked == [1]
    await interrupted(tmp_path / "third.db", 3)
    (tmp_path / "third.db.part-wal").write_bytes(b"")
    (tmp_path / "third.db.part-wal").chmod(0o666)
    ledger = Ledger(lived(3))
    await rebuild(ledger, tmp_path / "third.db")
    assert ledger.asked == [1]
    await interrupted(tmp_path / "other.db", 3)
    (tmp_path / "linked.db.part").symlink_to(tmp_path / "other.db.part")
    ledger = Ledger(lived(3))
    await rebuild(ledger, tmp_path / "linked.db")
    assert ledger.asked == [1]


async def test_a_snapshot_of_another_ledger_or_for_another_place_is_not_gone_on_with(tmp_path: Path) -> None:
    await interrupted(tmp_path / "views.db", 3)
    shutil.copytree(tmp_path, tmp_path / "copy")
    ledger = Ledger(lived(2))
    assert await rebuild(ledger, tmp_path / "views.db") == await built(Ledger(lived(2)))
    assert ledger.asked[-1] == 1
    ledger = Ledger(lived(3))
    before = await rebuild(ledger, tmp_path / "copy" / "views.db", until=20)
    assert (before.seq, ledger.asked) == (20, [1])


@examples(15)
@given(seed=st.sampled_from(SEEDS), data=st.data())
def test_what_lay_between_two_moments_leads_from_the_first_to_the_second(
    seed: int, data: st.DataObject
) -> None:
    ledger = Ledger(lived(seed))
    first, second = sorted(data.draw(st.tuples(*[st.integers(0, len(ledger.messages))] * 2)))

    async def scene() -> None:
        async with standing(ledger, TABLES, first) as then:
            rows = {
                (table.name, tuple(row[name] for name in table.columns[: table.key_columns])): row
                for table in TABLES
                for row in then.rows(table)
            }
        async with between(ledger, TABLES, first, second) as states:
            assert (states.first, states.second) == (first, second)
            for one in states.differences():
                table = next(table for table in TABLES if table.name == one.table)
                key = dict(zip(table.columns, one.key, strict=False))
                was = rows.pop((one.table, one.key), None)
                if one.change == "come":
                    assert was is None
                    rows[one.table, one.key] = {**key, **one.after}
                elif one.change == "gone":
                    assert was == {**key, **one.before}
                else:
                    assert was is not None
                    assert {name: was[name] for name in one.before} == one.before
                    rows[one.table, one.key] = {**was, **one.after}
        async with standing(ledger, TABLES, second) as now:
            found = [(table.name, row) for table in TABLES for row in now.rows(table)]
        assert sorted(map(str, found)) == sorted(str((name, row)) for (name, _), row in rows.items())

    asyncio.run(scene())


async def test_what_is_over_is_not_held(tmp_path: Path) -> None:
    ledger = Ledger(lived(2)[: len(lived(2)) // 2])
    async with passing(tmp_path / "views.db") as base:
        build = Build(base, TABLES)
        await build.create()
        await build.fold(ledger, None, None)
        await build.write()
        [view] = [fold for fold in build.folds if type(fold).__name__ == "Activations"]
        held = view.requests  # type: ignore[attr-defined]
        found = await (await base.execute("SELECT id FROM requests WHERE outcome = 'admitted'")).fetchall()
    assert len(list(found)) > 5
    assert not {name for (name,) in found} & set(held)
