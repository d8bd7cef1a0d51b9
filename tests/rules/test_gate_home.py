"""Where a kept VM starts: where its disk is, also one that never ran."""

import pytest

from events.gate import BootOrdered
from events.keep import VmCreated
from events.volume import VolumeAdopted
from tests.given import ORG
from tests.keeping import GIB, ONE, Keeping


def adopted(host: str) -> Keeping:
    """A VM that never ran, and whose disk is on that host; another host comes first."""
    past = Keeping().setting()
    past.host("h2")
    past.happened(
        VmCreated(
            org=ORG,
            vm="db",
            pool="apps",
            size=ONE,
            image="tiny",
            kind="lab",
            readiness="http",
            disk_bytes=10 * GIB,
            seed=None,
            protected=False,
            actor="kim",
            created_at=past.now,
        )
    )
    past.happened(
        VolumeAdopted(
            org=ORG,
            vm="db",
            host=host,
            order="0" * 32,
            former="/srv/old.img",
            volume=f"/disks/{ORG}.db.qcow2",
            template="tiny",
            size_bytes=10 * GIB,
            adopted_at=past.now,
        )
    )
    return past


@pytest.mark.parametrize("host", ["h1", "h2"])
def test_a_vm_that_never_ran_starts_where_the_disk_is_that_it_was_given(host: str) -> None:
    past = adopted(host)
    past.change("start")
    decision = past.answer()
    boots = [one for one in decision[1] if isinstance(one, BootOrdered)]
    assert [one.host for one in boots] == [host]


def test_it_does_not_start_elsewhere_when_that_host_is_gone() -> None:
    past = adopted("h2")
    past.fenced("h2")
    past.change("start")
    answer, orders = past.answer()
    assert orders == ()
    assert answer.code == "HostGone"
