"""The waker: one per host, the only one who touches domains."""
