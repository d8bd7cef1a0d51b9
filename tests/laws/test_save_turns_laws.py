"""Looking only at those whose turn may have come finds whomever a look at all would find."""

from hypothesis import given
from hypothesis import strategies as st

from services.gate.draft import Draft
from services.gate.resting import further
from services.gate.turns import LATE_SECONDS, Turns
from tests.given import Past
from tests.laws.strength import examples
from tests.rules.test_gate_save_turns import aligned, all_of, finished, ordered, town

ORGS, HOSTS = ("org-0", "org-1", "org-2"), ("h1", "h2")
STEPS = st.tuples(
    st.sampled_from(("done", "failed", "dies", "asks", "wakes", "falls asleep", "hour")),
    st.sampled_from(ORGS),
    st.sampled_from(HOSTS),
)


def overlooked(pasts: dict[str, Past]) -> list[str]:
    """Whose turn it is, by a look at all."""
    past = all_of(pasts)
    return [org for org in pasts if next(further(Draft(org, past.state, past.now)), None) is not None]


def step(pasts: dict[str, Past], what: str, org: str, host: str) -> None:
    aligned(pasts)
    past = pasts[org]
    members = past.fleet.members(org, "web", "quiesced")
    match what:
        case "done":
            finished(pasts, host)
        case "failed":
            for vm in list(past.fleet.members(org, "web", "saving"))[:1]:
                past.save_failed(vm)
        case "dies":
            for vm in [*past.fleet.members(org, "web", "saving"), *members][:1]:
                past.quiesced_died(vm)
        case "asks":
            past.save(paused=len(members) // 2)
            past.round()
        case "wakes":
            past.scale(add=1)
            past.round()
        case "hour":
            for each in pasts.values():
                each.later(3600)
        case _:
            past.asleep("web", 1, host=host)
    aligned(pasts)


@given(st.lists(STEPS, max_size=40))
@examples(60)
def test_whoever_has_a_turn_is_found_at_once_or_within_a_minute_where_nothing_told_of_it(
    course: list[tuple[str, str, str]],
) -> None:
    pasts = town(3, 5, HOSTS)
    turns, seconds, untold = Turns(all_of(pasts).state), 0.0, False
    ordered(pasts, turns)
    for what, org, host in course:
        step(pasts, what, org, host)
        while ordered(pasts, turns, seconds):
            pass
        # Time that goes by, and a host that fails, tell nobody that he may go on; nor does another who falls asleep.
        untold = untold or what in {"hour", "failed", "falls asleep"}
        assert untold or not overlooked(pasts), what
        assert all(all_of(pasts).fleet.saving(one) <= 2 for one in HOSTS)
    seconds += LATE_SECONDS
    while ordered(pasts, turns, seconds):
        pass
    assert not overlooked(pasts)
