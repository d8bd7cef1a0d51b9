"""Reads the ledger back: verify, rebuild, explain."""
