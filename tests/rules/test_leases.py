"""Names and addresses of VMs have one holder each, until the last of the one that had them is gone."""

from events.deletion import VmUndefined
from events.vm import VmDefined
from projections.leases.fold import Leases
from tests.given import ORG, Past
from tests.keeping import ONE


def test_an_address_is_its_vms_until_the_host_that_gave_it_has_no_domain_of_it() -> None:
    past, leases, address = Past(), Leases(), "127.0.0.1:20000"
    order, life = "e" * 32, "a" * 32
    leases.apply(past.happened(VmDefined(ORG, "db", "apps", "h2", ONE, "vs-acme.db", "u", address, life)))
    for host, free in (("h1", False), ("h2", True), ("h2", True)):
        leases.apply(past.happened(VmUndefined(ORG, "db", host, order, past.now)))
        assert (address not in leases.addresses) is free, host
    leases.apply(past.happened(VmDefined(ORG, "shop", "apps", "h2", ONE, "vs-acme.shop", "v", address, life)))
    leases.apply(past.happened(VmUndefined(ORG, "db", "h2", order, past.now)))
    assert leases.addresses == {address: (ORG, "shop")}
