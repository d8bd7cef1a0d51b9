"""What a query selects, read well enough to ask how old its samples are."""

import datetime as dt

import pytest

from schemas.capacity import Size
from schemas.pool import Pool, Trigger
from services.signal.behind import ENDED_SECONDS, Taken, beside, selectors_in, taken
from services.signal.hearing import Hearing
from services.signal.port import Measurement

EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("query", "selectors"),
    [
        ("queue_depth", ["queue_depth"]),
        ('queue_depth{pool="web"}', ['queue_depth{pool="web"}']),
        ('sum(queue_depth {pool="web"} )', ['queue_depth{pool="web"}']),
        (
            'histogram_quantile(0.99, sum by (le) (rate(latency_seconds_bucket{pool="web"}[1m])))',
            ['latency_seconds_bucket{pool="web"}'],
        ),
        ("sum(rate(a_total[5m])) by (le, pool) / 1e3", ["a_total"]),
        ("sum without (x) (a) + count(a)", ["a"]),
        ("a * on (instance) group_left (version) b", ["a", "b"]),
        ("rate(a[5m]) / rate(a[5m] offset 1d)", ["a"]),
        ("a @ 1609746000 or b @ end() and c unless d", ["a", "b", "c", "d"]),
        ("max_over_time(sum(job:load:sum)[5m:15s])", ["job:load:sum"]),
        (
            '{__name__=~"a|b", path="/{id}[1]"} > bool 3',
            ['{__name__=~"a|b", path="/{id}[1]"}'],
        ),
        ("""a{x='it"s {'} % `b` # c""", ["""a{x='it"s {'}"""]),
        ('label_replace(a, "to", "$1 b", "from", "(.*)")', ["a"]),
        ("vector(1) + time() - 42.5 + NaN + Inf + 0x1f", []),
        ("", []),
        ("not promql ((", ["not"]),
        ('"open', ["open"]),
        ("sum by (le", []),
    ],
)
def test_the_selectors_of_a_query_are_found_whatever_stands_around_them(
    query: str, selectors: list[str]
) -> None:
    assert list(selectors_in(query)) == selectors


def test_the_times_of_many_series_stand_beside_the_number_in_one_question_of_bounded_length() -> None:
    assert beside("sum(a) # all", ["a"]) == (
        "(sum(a) # all\n) or "
        'label_replace(max(timestamp(a)), "virtscale_sampled", "newest0", "", "") or '
        'label_replace(min(timestamp(a) > time() - 150), "virtscale_sampled", "oldest0", "", "")'
    )
    longest = "+".join(f"a{number}" for number in range(1000))
    assert len(beside(longest, selectors_in(longest))) < 13_000


def test_a_series_that_ended_without_a_word_is_not_waited_for_and_seldom_ones_are_as_new_as_their_newest() -> (
    None
):
    assert taken([100.0, 95.0], 102.0) == Taken(100.0, 95.0)
    assert taken([1000.0, 995.0, 1000 - ENDED_SECONDS - 5], 1000.0) == Taken(1000.0, 995.0)
    assert taken([700.0, 650.0], 1000.0) == Taken(700.0, 700.0)
    assert taken([], 1000.0) == Taken(1000.0, 1000.0), "nothing is selected any more"


def test_a_computed_number_counts_once_until_all_the_samples_behind_it_are_new() -> None:
    query = "sum(queue_depth)"
    pool = Pool("acme", "web", Size("small", 1, 512), "tiny", triggers=(Trigger(query, 100.0),))
    hearing = Hearing()

    def heard(newest: float, oldest: float) -> str | None:
        at = EPOCH + dt.timedelta(seconds=newest)
        measured = Measurement(1000.0, at, EPOCH + dt.timedelta(seconds=oldest))
        [verdict] = hearing.judge(pool, query, measured, at)
        return verdict.why

    assert heard(60, 55) is None
    assert heard(60, 55) == "stale"
    assert heard(70, 60) == "stale", "one of its targets was scraped, the other one is as it was"
    assert heard(75, 70) is None
