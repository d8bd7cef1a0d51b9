"""`virtscale permit` and `permissions`: what publishers may do besides asking."""
