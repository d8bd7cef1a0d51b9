"""What is pushed: which queries it answers, what becomes of every odd sample, and that rubbish is refused with a reason."""

import contextlib
import datetime as dt
import math
import struct
import time

import cramjam
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.signal import remote_write
from services.signal.remote_write import MOST_BYTES, Pushed, PushError, read
from services.signal.selectors import selector_of
from services.signal.series import Groups
from tests.rules.pushes import packed, part, series, varint
from tests.simulation.clock import EPOCH

NOW_MS = int(EPOCH.timestamp() * 1000)
QUEUE = frozenset({b"queue"})


def at(seconds: float) -> dt.datetime:
    return EPOCH + dt.timedelta(seconds=seconds)


def ms(seconds: float) -> int:
    return NOW_MS + round(seconds * 1000)


@pytest.mark.parametrize(
    ("query", "name", "labels", "reckons"),
    [
        ("queue", "queue", (), False),
        (' queue { pool="web" } ', "queue", (("pool", "web"),), False),
        ("sum(queue{pool=\"web\",org='acme'})", "queue", (("pool", "web"), ("org", "acme")), True),
        ('max( queue{pool="a\\"b}"} )', "queue", (("pool", 'a"b}'),), True),
        ("avg(job:queue:mean)", "job:queue:mean", (), True),
        ("min(queue{})", "queue", (), True),
    ],
)
def test_a_plain_selector_and_the_sum_mean_highest_or_lowest_of_one_are_answered_by_pushes(
    query: str,
    name: str,
    labels: tuple,
    reckons: bool,  # noqa: FBT001 - a column of the table
) -> None:
    found = selector_of(query)
    assert found is not None
    assert (found.name, found.labels, found.reckoning is not None) == (name, labels, reckons)


@pytest.mark.parametrize(
    "query",
    [
        "rate(requests[1m])",
        "sum(rate(requests[1m]))",
        "queue * 2",
        'queue{pool=~"w.*"}',
        'queue{pool!="web"}',
        "sum by (pool) (queue)",
        "sum(queue",
        "queue)",
        "count(queue)",
        "queue[5m]",
        "queue offset 5m",
        "42",
        "inf",
        "",
        "requests_total",
        "sum(requests_total)",
        'latency_bucket{le="1"}',
        'queue{pool="\\x41"}',
    ],
)
def test_everything_else_is_asked_for_a_raw_counter_too_since_its_height_says_nothing(query: str) -> None:
    assert selector_of(query) is None


def test_only_series_of_the_names_that_matter_are_read() -> None:
    body = packed(
        series("queue", [(ms(0), 4.0), (ms(1), None)], pool="web"),
        series("other", [(ms(0), 1.0)]),
        part(3, b"\x08\x01"),
    )
    assert read(body, QUEUE) == [Pushed({"__name__": "queue", "pool": "web"}, ((ms(0), 4.0), (ms(1), None)))]


def test_a_time_before_1970_and_a_value_of_nothing_are_read_as_they_are() -> None:
    body = packed(series("queue", [(-5, 0.0)]))
    assert read(body, QUEUE)[0].samples == ((-5, 0.0),)
    nothing = packed(part(1, part(1, part(1, b"__name__") + part(2, b"queue")) + part(2, b"")))
    assert read(nothing, QUEUE)[0].samples == ((0, 0.0),), "a field at its default is not sent"


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "no body"),
        (b"\xff" * 20, "longer than 64 bits"),
        (b"hello", "no snappy block"),
        (varint(MOST_BYTES + 1), f"at most {MOST_BYTES}"),
        (packed(b"\x0a\x7f"), "longer than the message"),
        (packed(b"\x0f"), "wire type 7"),
        (packed(b"\x08\x01"), "no message"),
        (packed(b"\x09\x01"), "too early"),
        (packed(part(1, part(1, b"\x08\x01"))), "no text"),
        (packed(part(1, part(1, b"") * 200)), "128 labels"),
        (packed(part(1, b"") * 20_001), "20000 series"),
        (packed(part(1, part(2, b"") * 100_001)), "100000 samples"),
        (packed(b"\x18\x00" * 1_000_001), "1000000 fields"),
    ],
)
def test_what_is_no_request_is_refused_with_a_reason(body: bytes, why: str) -> None:
    with pytest.raises(PushError) as refused:
        read(body, QUEUE)
    assert why in str(refused.value)


def sampled(sample: bytes) -> bytes:
    return packed(part(1, part(1, part(1, b"__name__") + part(2, b"queue")) + part(2, sample)))


@pytest.mark.parametrize(
    ("sample", "why"),
    [
        (b"\x0d" + struct.pack("<f", 300.0) + b"\x10\x05", "value has the wire type 5"),
        (b"\x08" + varint(300) + b"\x10\x05", "value has the wire type 0"),
        (part(1, b"300") + b"\x10\x05", "value has the wire type 2"),
        (b"\x19" + struct.pack("<d", 300.0) + b"\x10\x05", "something in field 3"),
        (b"\x09" + struct.pack("<d", 300.0) + b"\x11" + struct.pack("<q", 5), "time has the wire type 1"),
        (b"\x09" + struct.pack("<d", 300.0) + part(2, b"5"), "time has the wire type 2"),
    ],
)
def test_a_sample_that_is_no_double_with_a_time_is_refused_and_is_no_small_demand(
    sample: bytes, why: str
) -> None:
    with pytest.raises(PushError) as refused:
        read(sampled(sample), QUEUE)
    assert why in str(refused.value)


def test_a_zero_that_was_not_sent_is_a_zero_and_a_field_of_tomorrow_beside_a_value_is_passed_over() -> None:
    assert read(sampled(b"\x10\x05"), QUEUE)[0].samples == ((5, 0.0),)
    tomorrow = b"\x09" + struct.pack("<d", 300.0) + b"\x10\x05\x18\x01"
    assert read(sampled(tomorrow), QUEUE)[0].samples == ((5, 300.0),)


@pytest.mark.parametrize("wrong", [b"\x08\x01", b"\x10\x01", b"\x09" + bytes(8)])
def test_a_label_or_sample_that_is_a_number_makes_the_series_no_series(wrong: bytes) -> None:
    with pytest.raises(PushError, match="no message: it has the wire type"):
        read(packed(part(1, wrong)), QUEUE)


def test_a_series_with_a_million_labels_is_refused_at_the_first_that_is_too_many() -> None:
    body = packed(part(1, b"\x0a\x00" * 4_000_000))
    began = time.process_time()
    with pytest.raises(PushError, match="128 labels"):
        read(body, QUEUE)
    assert time.process_time() - began < 0.5, "reading all of them takes seconds"


@given(st.binary(max_size=200), st.booleans())
def test_whatever_is_pushed_is_read_or_refused(body: bytes, wrapped: bool) -> None:  # noqa: FBT001 - drawn
    with contextlib.suppress(PushError):
        read(bytes(cramjam.snappy.compress_raw(body)) if wrapped else body, QUEUE)


def groups(*queries: str) -> Groups:
    found = Groups()
    found.keep(queries)
    return found


def one(seconds: float, value: float | None, name: str = "queue", **labels: str) -> Pushed:
    return Pushed({"__name__": name, **labels}, ((ms(seconds), value),))


def values(groups: Groups, *pushed: Pushed, now: float = 0.0) -> dict[str, float]:
    found, _ = groups.take(pushed, at(now))
    return {query: measured.value for query, measured in found.items()}


def test_a_plain_selector_has_the_value_of_its_one_series_at_once_with_the_time_of_its_sample() -> None:
    found, counted = groups('queue{pool="web"}').take(
        [one(-1, 7.0, pool="web"), one(-1, 9.0, pool="db")], at(0)
    )
    measured = found['queue{pool="web"}']
    assert (measured.value, measured.observed_at) == (7.0, at(-1))
    assert counted == {"taken": 1}


def test_a_plain_selector_with_several_series_has_no_value() -> None:
    both = groups("queue")
    assert values(both, one(0, 1.0, pool="web")) == {"queue": 1.0}
    assert values(both, one(1, 2.0, pool="db"), now=1) == {}
    assert values(both, one(2, None, pool="db"), one(3, 5.0, pool="web"), now=3) == {"queue": 5.0}


def settled(total: Groups, *members: str) -> None:
    """All series have come some time ago, and once more since."""
    for seconds in (-200.0, -5.0):
        assert values(total, *[one(seconds, 1.0, vm=vm) for vm in members[1:]], now=seconds) == {}
        values(total, one(seconds + 0.5, 1.0, vm=members[0]), now=seconds + 0.5)


def test_a_sum_has_one_value_a_scrape_made_of_all_its_series() -> None:
    total = groups("sum(queue)")
    for second in range(0, 90, 5):
        assert values(total, one(second, 1.0, vm="a"), now=second) == {}, (
            "nobody knows yet how many there are"
        )
        assert values(total, one(second + 1, 10.0, vm="b"), now=second + 1) == {}
    assert values(total, one(90, 2.0, vm="a"), now=90) == {}
    assert values(total, one(91, 10.0, vm="b"), now=91) == {"sum(queue)": 12.0}
    assert values(total, one(95, 3.0, vm="a"), now=95) == {}
    assert values(total, one(96, 20.0, vm="b"), now=96) == {"sum(queue)": 23.0}


@pytest.mark.parametrize("interval", [5, 15, 30, 60])
def test_a_sum_is_never_of_a_part_of_its_series_however_much_more_often_one_of_them_comes(
    interval: int,
) -> None:
    total = groups("sum(queue)")
    found: list[float] = []
    for second in range(0, 300, 5):
        found += values(total, one(second, 10.0, vm="a"), now=second).values()
        if second % interval == interval - 5:
            found += values(total, one(second + 1, 90.0, vm="b"), now=second + 1).values()
    assert len(found) >= 20
    assert set(found) == {100.0}


def test_after_five_minutes_of_silence_a_sum_is_waited_for_as_at_first() -> None:
    total = groups("sum(queue)")
    settled(total, "a", "b")
    assert values(total, one(400, 10.0, vm="a"), now=400) == {}
    assert values(total, one(405, 10.0, vm="a"), now=405) == {}
    assert values(total, one(410, 90.0, vm="b"), now=410) == {}
    values(total, one(495, 10.0, vm="a"), now=495)
    assert values(total, one(496, 90.0, vm="b"), now=496) == {"sum(queue)": 100.0}


def test_a_clock_that_was_ahead_when_a_sum_began_does_not_keep_it_waiting() -> None:
    total = groups("sum(queue)")
    values(total, one(10, 1.0, vm="a"), now=86_400 + 10)
    values(total, one(11, 1.0, vm="a"), now=11)
    assert values(total, one(101, 2.0, vm="a"), now=101) == {"sum(queue)": 2.0}


def test_what_a_sender_has_kept_is_one_sample_of_each_query_the_newest() -> None:
    total = groups("sum(queue)")
    settled(total, "a", "b")
    kept = [
        Pushed({"__name__": "queue", "vm": vm}, ((ms(0), 1.0), (ms(5), 2.0), (ms(10), 3.0))) for vm in "ab"
    ]
    found, counted = total.take(kept, at(10))
    assert found["sum(queue)"].value == 6.0
    assert found["sum(queue)"].observed_at == at(10)
    assert counted == {"taken": 6}


def test_a_push_of_very_many_samples_is_heard_in_a_moment() -> None:
    many = groups("queue", "sum(queue)")
    crowd = [one(0, 1.0, vm=f"{number}") for number in range(5000)]
    moments = tuple((ms(-20) + at, 1.0) for at in range(1000))
    began = time.process_time()
    many.take(crowd, at(0))
    many.take(
        [Pushed({"__name__": "queue", "vm": f"{number}"}, moments) for number in range(5000, 5010)], at(0)
    )
    assert time.process_time() - began < 1.0, "with a look at all series for each sample it is 10 s"


def test_a_high_target_among_many_is_one_sample_and_not_as_many_as_there_are_targets() -> None:
    total = groups("sum(queue)")
    settled(total, *[f"v{target}" for target in range(8)])
    made = 0
    for scrape in range(10):
        for target in range(8):
            moment = 5 * scrape + target / 2
            high = 1000.0 if scrape == 5 and target == 0 else 1.0
            made += len(values(total, one(moment, high, vm=f"v{target}"), now=moment))
    assert made == 10


def test_a_series_that_ends_or_is_silent_for_five_minutes_is_no_part_of_the_sum() -> None:
    total = groups("sum(queue)")
    settled(total, "a", "b")
    values(total, one(5, 1.0, vm="a"), one(5, 10.0, vm="b"), now=5)
    values(total, one(10, None, vm="b"), now=10)
    assert values(total, one(11, 2.0, vm="a"), now=11) == {"sum(queue)": 2.0}
    values(total, one(12, 30.0, vm="c"), now=12)
    found = [values(total, one(15.0 + 5 * n, 4.0, vm="a"), now=15.0 + 5 * n) for n in range(70)]
    assert found[-1] == {"sum(queue)": 4.0}


def test_mean_highest_and_lowest_are_made_in_the_same_way() -> None:
    many = groups("avg(queue)", "max(queue)", "min(queue)")
    settled(many, "a", "b")
    assert values(many, one(5, 1.0, vm="a"), one(5, 3.0, vm="b"), now=5) == {
        "avg(queue)": 2.0,
        "max(queue)": 3.0,
        "min(queue)": 1.0,
    }


def test_samples_from_the_past_the_future_and_twice_are_left_out_and_counted() -> None:
    plain = groups("queue")
    pushed = Pushed(
        {"__name__": "queue"},
        (
            (ms(-31), 1.0),
            (ms(0), 2.0),
            (ms(0), 3.0),
            (ms(-5), 4.0),
            (ms(16), 5.0),
            (ms(0), None),
            (2**62, 6.0),
        ),
    )
    found, counted = plain.take([pushed], at(0))
    assert found["queue"].value == 2.0
    assert counted == {"late": 1, "taken": 1, "old": 3, "future": 2}


def test_a_value_that_is_no_number_is_passed_on_for_those_to_judge_who_know_the_question() -> None:
    assert math.isnan(values(groups("queue"), one(0, math.nan))["queue"])


def test_a_query_that_nobody_has_any_more_is_forgotten_and_one_that_stays_is_not() -> None:
    both = groups("sum(queue)", "other")
    settled(both, "a")
    both.keep(["sum(queue)"])
    assert both.names == {b"queue"}
    assert values(both, one(1, 1.0, vm="a"), one(1, 9.0, "other"), now=1) == {"sum(queue)": 1.0}


def test_the_mark_of_an_ended_series_is_one_nan_and_no_other() -> None:
    assert struct.unpack("<Q", struct.pack("<d", math.nan))[0] != remote_write.STALE
