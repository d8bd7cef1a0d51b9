"""A name is given to one VM only, whatever strangers are called."""

from events.gate import BootOrdered
from events.vm import VmFoundAwake
from tests.given import ORG, SMALL, Past


def test_behind_a_stranger_with_the_highest_number_every_new_vm_still_has_a_name_of_its_own() -> None:
    past = Past().contract(vcpu=100).pool("web").host()
    stranger = VmFoundAwake(
        org=ORG,
        vm="web-999999",
        pool="web",
        host="h1",
        size=SMALL,
        reservation="0" * 32,
        observed_at=past.now,
    )
    past.happened(stranger)
    past.round()
    past.quiesced("web-999999")
    names: list[str] = []
    for _ in range(4):
        past.scale(add=2)
        names += [order.vm for order in past.round().orders if isinstance(order, BootOrdered)]
    assert len(names) == len(set(names)) == 7
    assert past.usage.reserved(ORG).vcpu == 8 * SMALL.vcpu
