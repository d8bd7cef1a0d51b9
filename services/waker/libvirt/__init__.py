"""A host's hypervisor by way of libvirt: all of the waker that speaks to it or knows its words."""
