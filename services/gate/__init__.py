"""The gate: the only one who orders, and the keeper of the cap."""
