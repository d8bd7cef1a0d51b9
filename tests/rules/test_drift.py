"""What stands of differences, folded from the ledger, and what a person is shown of them."""

import datetime as dt

from events.deletion import VmUndefined, VolumeErased
from events.drift import DomainDrifted, DomainSettled, VmOomKilled, VolumeDrifted, VolumeSettled
from events.envelope import Recorded
from events.fact import Fact
from events.host import HostRemoved
from events.ids import derive
from events.registry import NEWEST
from events.vm import VmRebooted
from projections.drift.fold import Drifts
from projections.drift.table import TABLES
from schemas.capacity import Size
from schemas.memory import relief
from schemas.names import PLATFORM
from virtscale.vms.shown import lines

NOW = dt.datetime(2026, 11, 22, 9, 0, tzinfo=dt.UTC)
OWN = derive("boot")


def after(minutes: int) -> dt.datetime:
    return NOW + dt.timedelta(minutes=minutes)


def drifted(found: str = "2 vCPU, 512 MiB", minutes: int = 0) -> DomainDrifted:
    return DomainDrifted(
        "acme",
        "db",
        "h1",
        "size",
        "1 vCPU, 512 MiB",
        found,
        "reboot",
        OWN,
        Size("two", 2, 512),
        after(minutes),
    )


def shrunk(minutes: int = 0) -> VolumeDrifted:
    return VolumeDrifted("acme", "db", "h1", "missing", "/v/db", "no such file", "none", None, after(minutes))


def killed(kills: int, minutes: int, reservation: str = OWN) -> VmOomKilled:
    return VmOomKilled("acme", "db", "h1", reservation, kills, 512, "More.", after(minutes))


def recorded(fact: Fact, seq: int) -> Recorded:
    row, id_ = NEWEST[type(fact)], derive("test", seq)
    return Recorded(seq, seq, id_, row.writer, NOW, None, id_, row.tag, fact)


def folded(*facts: Fact) -> Drifts:
    drifts = Drifts()
    for seq, fact in enumerate(facts, 1):
        drifts.apply(recorded(fact, seq))
    return drifts


def standing(drifts: Drifts) -> list[tuple[str, str, str]]:
    return [(one.part, one.what, one.found) for one in drifts.standing.values()]


def test_a_difference_stands_from_when_it_was_first_seen_until_it_is_settled() -> None:
    drifts = folded(drifted(), drifted("3 vCPU, 512 MiB", 5), shrunk(6))
    assert standing(drifts) == [("domain", "size", "3 vCPU, 512 MiB"), ("volume", "missing", "no such file")]
    (size, _) = drifts.standing.values()
    assert (size.since, size.observed_at) == (after(0), after(5))
    settled = folded(
        drifted(),
        shrunk(),
        DomainSettled("acme", "db", "h1", "size", after(7)),
        VolumeSettled("acme", "db", "h1", "missing", after(7)),
    )
    assert standing(settled) == []


def test_what_is_told_again_late_changes_nothing() -> None:
    settled = DomainSettled("acme", "db", "h1", "size", after(7))
    assert standing(folded(drifted(), settled, drifted())) == []
    assert standing(folded(drifted(), settled, drifted(minutes=8), settled)) == [
        ("domain", "size", "2 vCPU, 512 MiB")
    ]
    assert folded(killed(2, 1), killed(2, 1)).kills["acme", "db"].kills == 2


def test_nothing_stands_of_a_domain_a_disk_or_a_host_that_is_gone() -> None:
    undefined = VmUndefined("acme", "db", "h1", derive("e"), after(9))
    erased = VolumeErased("acme", "db", "h1", derive("e"), "/v/db", 0, after(9))
    assert standing(folded(drifted(), shrunk(), undefined)) == [("volume", "missing", "no such file")]
    assert standing(folded(drifted(), shrunk(), erased)) == [("domain", "size", "2 vCPU, 512 MiB")]
    gone = HostRemoved(PLATFORM, "h1", "ops", "gone", after(9))
    assert standing(folded(drifted(), shrunk(), gone)) == []


def test_kills_add_up_within_a_life_and_a_boot_of_its_own_counts_from_nothing() -> None:
    drifts = folded(killed(2, 1), killed(1, 2), VmRebooted("acme", "db", "h1", OWN, after(3)), killed(4, 4))
    known = drifts.kills["acme", "db"]
    assert (known.kills, known.of_boot) == (7, 4)
    other = folded(killed(2, 1), killed(1, 2, derive("other")))
    assert (other.kills["acme", "db"].kills, other.kills["acme", "db"].of_boot) == (1, 1)


def test_a_person_is_told_what_was_found_what_was_ordered_and_who_puts_it_right() -> None:
    drifts = folded(drifted(), killed(1, 1))
    drift, oom = TABLES
    key = ("acme", "db", "h1", "domain", "size")
    row = dict(zip(drift.columns, drift.row(drifts, key) or (), strict=True))
    kills = dict(zip(oom.columns, oom.row(drifts, ("acme", "db")) or (), strict=True))
    assert lines([row], kills) == {
        "drift: size": "found 2 vCPU, 512 MiB, and the ledger has 1 vCPU, 512 MiB, on h1 since 2026-11-22T09:00:00+00:00; "
        "a reboot is planned for it",
        "memory": "1 process was killed for want of memory in 512 MiB, last seen 2026-11-22T09:01:00+00:00. More.",
    }


def test_the_advice_names_the_next_size_of_its_family_and_twice_as_much_for_ones_own() -> None:
    assert relief(Size("vs.s", 1, 4096)).startswith(
        "Give it more memory: the next size is vs.m with 8192 MiB."
    )
    assert "the next size is vc.m with 4096 MiB" in relief(Size("vc.s", 1, 2048))
    assert "the next size is 1x192 with 192 MiB" in relief(Size("custom-1x96", 1, 96))
    assert "the next size is 64x524288 with 524288 MiB" in relief(Size("vs.4xl", 64, 262_144))
    assert "2048 MiB of swap" in relief(Size("vs.s", 1, 4096))
