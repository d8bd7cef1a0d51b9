"""The ledger checked, exported, and proven event by event."""
