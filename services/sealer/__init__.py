"""The sealer: signs what the ledger holds, and says that one may append to it."""
