"""What pools will need, for people."""
