"""One folder per worker; workers meet only through events."""
