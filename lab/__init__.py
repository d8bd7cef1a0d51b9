"""A data centre on one machine: bus, hypervisor, guests, load balancer, metrics and mail, for `up` and the tests."""
