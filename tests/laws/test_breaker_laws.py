"""What is told of breakers is told once, by whatever clock, and whatever became of those who were started."""

from hypothesis import given
from hypothesis import strategies as st

from tests.laws.strength import examples
from tests.rules.failing import setting, untaken

STEPS = st.sampled_from((-1800, -3, -1, 0, 1, 3, 61, 700))
ENDS = st.sampled_from(("ready", "refused", "timeout", "unfit", "died", "paused", "untaken"))


@given(st.lists(st.tuples(STEPS, ENDS, st.integers(1, 3)), min_size=4, max_size=14))
@examples(150)
def test_a_round_with_facts_changes_what_is_due_whatever_the_clock_says(
    course: list[tuple[int, str, int]],
) -> None:
    past = setting(vcpu=1000).asleep("web", 6)
    for seconds, ends, vms in course:
        past.later(seconds)
        past.scale(add=vms, up_to=True)
        for _ in range(20):
            decision = past.decide()
            if decision is None:
                break
            due = list(past.state.breakers.due(past.org, past.now))
            past.stored(decision)
            still = list(past.state.breakers.due(past.org, past.now))
            if decision.facts:
                assert len(still) < len(due)
        assert past.decide() is None, "the rounds end"
        assert not list(past.docket.pending(past.org)), "and everybody has an answer"
        for name in [one.name for one in past.fleet.vms.values() if one.state in {"waking", "booting"}]:
            match ends:
                case "ready":
                    past.ready(name)
                case "refused":
                    past.wake_failed(name)
                case "timeout":
                    past.unready(name)
                case "died":
                    past.died(name)
                case "untaken":
                    past.ready(name)
                    untaken(past, name)
                case "paused":
                    past.found_paused(name)
                case _:
                    past.unready(name, "not-refreshed")
        for vm in list(past.fleet.vms.values()):
            if vm.state == "stopping":
                past.stopped(vm.name)
            if vm.state == "suspending":
                past.quiesced(vm.name)
