"""The view of lost queries: a loss holds until the query is heard again, or is no longer the pool's."""

import datetime as dt

from events.envelope import Recorded
from events.fact import Fact
from events.ids import derive
from events.pool import PoolDefined, Source
from events.registry import NEWEST
from events.signal import SignalFound, SignalLost
from projections.signals.fold import Signals, places
from projections.signals.table import TABLES
from schemas.capacity import Size
from schemas.pool import DemandQuery, Pool, Trigger

AT = dt.datetime(2026, 11, 22, 9, 0, tzinfo=dt.UTC)
POOL = Pool(
    org="acme",
    name="web",
    size=Size("small", 1, 512),
    template="tiny",
    triggers=(Trigger("p99", 250.0), Trigger("queue", 10.0)),
    demand=DemandQuery("rate", 100.0),
)


def lost(query: str, source: Source = "trigger", *, after: int = 0, pool: str = "web") -> SignalLost:
    return SignalLost(
        org="acme",
        pool=pool,
        source=source,
        query=derive("query", query),
        last_sample_at=AT - dt.timedelta(seconds=30),
        code="stale",
        text=f"The query {query} is lost.",
        lost_at=AT + dt.timedelta(seconds=after),
    )


def found(query: str, source: Source = "trigger") -> SignalFound:
    return SignalFound(
        org="acme",
        pool="web",
        source=source,
        query=derive("query", query),
        lost_at=AT,
        found_at=AT + dt.timedelta(minutes=5),
    )


def view_of(*facts: Fact) -> Signals:
    view = Signals()
    for seq, fact in enumerate(facts, 1):
        row = NEWEST[type(fact)]
        view.apply(Recorded(seq, seq, derive("test", seq), row.writer, AT, None, "test", row.tag, fact))
    return view


def test_a_pool_is_lost_while_any_of_its_queries_is() -> None:
    view = view_of(lost("p99"), lost("rate", "demand"), found("p99"))
    assert view.lost("acme", "web")
    assert [one.source for one in view.losses("acme", "web")] == ["demand"]
    assert not view.lost("acme", "db")
    assert not view_of(lost("p99"), found("p99")).lost("acme", "web")


def test_one_query_that_is_trigger_and_demand_is_lost_and_found_for_each_of_the_two() -> None:
    view = view_of(lost("rate"), lost("rate", "demand"), found("rate"))
    assert view.loss("acme", "web", ("demand", derive("query", "rate"))) is not None
    assert view.loss("acme", "web", ("trigger", derive("query", "rate"))) is None


def test_a_loss_that_is_told_again_stays_the_first_and_a_find_of_what_is_heard_changes_nothing() -> None:
    view = view_of(found("p99"), lost("p99"), lost("p99", after=100))
    (loss,) = view.losses("acme", "web")
    assert (loss.seq, loss.lost_at) == (2, AT)


def test_a_query_that_a_redefined_pool_no_longer_has_is_not_lost() -> None:
    assert len(places(POOL)) == 3
    smaller = Pool(
        org="acme", name="web", size=POOL.size, template="tiny", triggers=(Trigger("queue", 99.0),)
    )
    view = view_of(lost("p99"), lost("queue"), PoolDefined(org="acme", pool="web", definition=smaller))
    assert [one.query for one in view.losses("acme", "web")] == [derive("query", "queue")]
    view = view_of(lost("p99"), PoolDefined(org="acme", pool="web", definition=smaller))
    assert not view.lost("acme", "web")


def test_a_loss_of_a_query_that_the_pool_does_not_have_any_more_is_none_however_late_it_is_told() -> None:
    smaller = Pool(org="acme", name="web", size=POOL.size, template="tiny", demand=POOL.demand)
    former, taken = (PoolDefined(org="acme", pool="web", definition=one) for one in (POOL, smaller))
    view = view_of(former, taken, lost("p99"), lost("rate"))
    assert not view.lost("acme", "web")
    view = view_of(former, taken, lost("p99"), lost("rate", "demand"), found("rate", "demand"), former)
    assert not view.lost("acme", "web"), "nor when the pool has it again"
    assert view_of(taken, lost("rate", "demand")).lost("acme", "web")


def test_the_table_has_a_row_for_each_pool_of_which_something_is_lost() -> None:
    (table,) = TABLES
    view = view_of(lost("p99"), lost("rate", "demand", after=9))
    assert table.row(view, ("acme", "web")) == (
        "acme",
        "web",
        2,
        "demand, trigger",
        "stale",
        AT.isoformat(),
        (AT - dt.timedelta(seconds=30)).isoformat(),
        "The query p99 is lost.",
    )
    assert table.row(view, ("acme", "db")) is None
    fact = found("p99")
    row = NEWEST[type(fact)]
    event = Recorded(1, 1, "x", row.writer, AT, None, "x", row.tag, fact)
    assert list(table.touched(event)) == [("acme", "web")]
