"""Why something happened, or did not: the chain of events and the evidence behind it."""
