"""A data centre that is not there: virtual time, hosts and guests without faults, around the workers as they are."""
