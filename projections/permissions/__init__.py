"""What publishers may do besides asking."""
