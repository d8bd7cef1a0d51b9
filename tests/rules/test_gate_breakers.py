"""What fails to wake again and again is left alone for a while."""

import datetime as dt

from events.breaker import BreakerClosed, BreakerOpened
from events.gate import BootOrdered, WakeOrdered
from projections.breakers.fold import Breakers
from schemas.capacity import Size
from tests.given import ORG
from tests.rules.failing import fail, opened, setting, starts


def test_three_failures_in_a_row_open_the_hosts_breaker_for_a_minute() -> None:
    past = setting().asleep("web", 1)
    fail(past, 2)
    assert past.decide() is None
    past.scale(add=1)
    past.round()
    past.wake_failed("web-1", "domain-lost")
    assert opened(past) == [
        BreakerOpened(
            org=ORG,
            pool="web",
            scope="host",
            name="h1",
            failures=3,
            code="domain-lost",
            opened_at=past.now,
            until=past.now + dt.timedelta(seconds=60),
        )
    ]


def test_while_it_is_open_nothing_of_the_pool_starts_there_and_whoever_asks_is_told_until_when() -> None:
    past = setting().pool("jobs").asleep("web", 2).asleep("jobs", 1)
    fail(past, 3)
    opened(past)
    ends = past.now + dt.timedelta(seconds=60)
    past.scale(add=1)
    past.scale(add=2, up_to=True)
    past.stock(vms=3)
    past.scale("jobs", add=1)
    decided = past.round()
    assert [(one.code, one.outcome, one.retry_at) for one in decided.answers] == [
        ("BreakerOpen", "refused", ends),
        ("BreakerOpen", "refused", ends),
        ("BreakerOpen", "refused", ends),
        ("Granted", "admitted", None),
    ]
    past.later(59.999_999)
    past.scale(add=1)
    assert past.answer()[0].code == "BreakerOpen"
    past.later(0.000_001)
    past.scale(add=1)
    assert past.answer()[0].code == "Granted"


def test_up_to_takes_what_is_left_beside_an_open_breaker() -> None:
    past = setting().asleep("web", 2)
    fail(past, 3)
    opened(past)
    past.host("h2", 512)
    past.scale(add=3, up_to=True)
    answer, orders = past.answer()
    assert (answer.outcome, answer.code, answer.granted) == ("partial", "BreakerOpen", 1)
    assert answer.retry_at is not None
    assert [(type(one), one.vm) for one in orders] == [(BootOrdered, "web-3")]


def test_where_the_host_behind_a_breaker_is_full_as_well_that_is_the_reason() -> None:
    past = setting(size=Size(name="large", vcpu=2, memory_mib=40_000)).host("h2", 512).asleep("web", 1)
    fail(past, 3)
    opened(past)
    past.scale(add=1)
    assert past.answer()[0].code == "BreakerOpen", "one sleeps there"
    past.decided(past.wake("web-1"))
    past.scale(add=1)
    answer, _ = past.answer()
    assert (answer.code, answer.retry_at) == ("HostsFull", None)


def test_another_host_is_used_meanwhile() -> None:
    past = setting().host("h2").asleep("web", 2).asleep("web", 1, host="h2")
    past.quiesced_died("web-2")
    past.serving("web", 1)
    fail(past, 3)
    opened(past)
    past.scale(add=2)
    assert starts(past.round()) == [(WakeOrdered, "web-3", "h2"), (BootOrdered, "web-5", "h2")]


def test_a_failure_after_its_time_opens_it_for_twice_as_long_up_to_half_an_hour() -> None:
    past = setting().asleep("web", 1)
    fail(past, 3)
    lasted = []
    for _ in range(7):
        (breaker,) = opened(past)
        lasted.append((breaker.until - breaker.opened_at).total_seconds())
        past.now = breaker.until
        past.scale(add=1)
        past.round()
        past.wake_failed("web-1")
    assert lasted == [60, 120, 240, 480, 960, 1800, 1800]


def test_what_was_ordered_before_it_opened_says_nothing_new() -> None:
    past = setting().asleep("web", 5)
    past.scale(add=5)
    past.round()
    for vm in ("web-1", "web-2", "web-3"):
        past.wake_failed(vm)
    (breaker,) = opened(past)
    assert (breaker.failures, breaker.until - past.now) == (3, dt.timedelta(seconds=60))
    past.wake_failed("web-4")
    past.ready("web-5")
    assert past.decide() is None
    assert list(past.state.breakers.opened) == [(ORG, "web", "host", "h1")]


def test_the_first_vm_that_answers_after_its_time_closes_it() -> None:
    past = setting().asleep("web", 2)
    fail(past, 3)
    (breaker,) = opened(past)
    past.now = breaker.until
    past.scale(add=1)
    (order,) = past.answer()[1]
    past.ready(order.vm)
    decision = past.decide()
    assert decision is not None
    past.stored(decision)
    assert decision.facts == (
        BreakerClosed(org=ORG, pool="web", scope="host", name="h1", closed_at=past.now),
    )
    assert past.state.breakers.opened == {}
    past.scale(add=1)
    (order,) = past.answer()[1]
    past.wake_failed(order.vm)
    past.later(60)
    assert past.decide() is None, "it counts from one again"


def test_a_vm_that_answers_in_between_begins_the_count_anew() -> None:
    past = setting().asleep("web", 3)
    fail(past, 2)
    past.scale(add=1)
    (order,) = past.answer()[1]
    past.ready(order.vm)
    past.announced(order.vm)
    fail(past, 2)
    assert past.decide() is None


def test_a_host_on_trial_is_used_when_no_other_will_do() -> None:
    past = setting().asleep("web", 1)
    fail(past, 3)
    opened(past)
    past.later(60)
    past.host("h2", 512)
    past.scale(add=2)
    assert starts(past.round()) == [(WakeOrdered, "web-1", "h1"), (BootOrdered, "web-2", "h2")]
    past = setting(placement="spread").asleep("web", 1)
    fail(past, 3)
    opened(past)
    past.later(60)
    past.host("h2").asleep("web", 1, host="h2")
    past.serving("web", 1, host="h2")
    past.scale(add=1)
    assert [(vm, host) for _, vm, host in starts(past.round())] == [("web-2", "h2")]


def test_boots_that_fail_open_the_breaker_of_the_template_too() -> None:
    past = setting().host("h2", 512).asleep("web", 1, host="h2")
    past.stock(vms=4)
    for order in past.answer()[1]:
        past.unready(order.vm)
        past.stopped(order.vm)
    scopes = {(one.scope, one.name, one.code) for one in opened(past)}
    assert scopes == {("host", "h1", "probe-timeout"), ("template", "tiny", "probe-timeout")}
    past.scale(add=2, up_to=True)
    answer, orders = past.answer()
    assert (answer.code, [type(one) for one in orders]) == ("BreakerOpen", [WakeOrdered])


def test_a_template_that_is_missing_is_not_the_hosts_fault() -> None:
    past = setting()
    past.scale(add=3)
    for order in past.answer()[1]:
        past.wake_failed(order.vm, "template-missing", found="missing")
    assert [(one.scope, one.name) for one in opened(past)] == [("template", "tiny")]


def test_boots_that_were_ordered_before_the_hosts_breaker_opened_still_speak_of_their_template() -> None:
    past = setting()
    past.scale(add=3)
    boots = past.answer()[1]
    past.asleep("web", 3)
    past.scale(add=3)
    for order in past.answer()[1]:
        past.wake_failed(order.vm)
    assert [one.scope for one in opened(past)] == ["host"]
    for order in boots:
        past.wake_failed(order.vm, found="off")
    assert [one.scope for one in opened(past)] == ["template"]


def test_breakers_of_a_host_that_is_dead_or_gone_end_with_it() -> None:
    past = setting().asleep("web", 1)
    fail(past, 3)
    opened(past)
    past.fenced("h1")
    assert past.state.breakers.opened == {}
    assert past.decide() is None
    past = setting().asleep("web", 1)
    fail(past, 3)
    past.fenced("h1")
    assert past.decide() is None, "what was to be opened is not"


def test_a_copy_of_what_was_said_of_a_breaker_says_nothing() -> None:
    past = setting().asleep("web", 1)
    fail(past, 3)
    (breaker,) = opened(past)
    past.now = breaker.until
    past.scale(add=1)
    past.round()
    past.ready("web-1")
    past.round()
    past.happened(breaker)
    assert past.state.breakers.opened == {}


def test_a_copy_that_comes_at_once_does_not_double_its_time() -> None:
    past = setting().asleep("web", 1)
    fail(past, 3)
    (breaker,) = opened(past)
    past.happened(breaker)
    past.now = breaker.until
    past.scale(add=1)
    past.round()
    past.wake_failed("web-1")
    (again,) = opened(past)
    assert again.until - again.opened_at == dt.timedelta(seconds=120)


def test_what_is_told_of_a_breaker_holds_also_where_nothing_is_known_of_its_failures() -> None:
    past = setting()
    said = BreakerOpened(
        org=ORG,
        pool="web",
        scope="host",
        name="h1",
        failures=7,
        code="domain-lost",
        opened_at=past.now,
        until=past.now + dt.timedelta(seconds=60),
    )
    closed = BreakerClosed(org=ORG, pool="web", scope="template", name="tiny", closed_at=past.now)
    past.happened(said)
    past.happened(closed)
    (known,) = past.state.breakers.opened.values()
    assert (known.failures, known.code, known.opened_at, known.until) == (
        7,
        "domain-lost",
        past.now,
        said.until,
    )
    assert past.decide() is None


def test_an_org_is_looked_at_while_it_has_something_to_replace_or_to_switch() -> None:
    past = setting().asleep("web", 2)
    breakers = past.state.breakers
    past.scale(add=1)
    past.round()
    assert (list(breakers.needing(past.now)), breakers.may_need(ORG)) == ([], False)
    past.wake_failed("web-1")
    assert (list(breakers.needing(past.now)), breakers.may_need(ORG)) == ([ORG], True)
    past.later(60)
    assert (list(breakers.needing(past.now)), breakers.may_need(ORG)) == ([], True)
    fail(past, 2)
    assert (list(breakers.needing(past.now)), breakers.may_need(ORG)) == ([ORG], True)
    opened(past)
    assert (list(breakers.needing(past.now)), breakers.may_need(ORG)) == ([], False)


def test_a_gate_that_read_half_of_it_reads_the_rest_to_the_same_end() -> None:
    past = setting().asleep("web", 2)
    fail(past, 3)
    opened(past)
    past.later(60)
    past.scale(add=1)
    past.round()
    again = Breakers()
    for line in past.lines:
        again.apply(line)
    assert vars(again) == vars(past.state.breakers)
