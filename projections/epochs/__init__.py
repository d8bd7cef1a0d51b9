"""Epochs: whether the ledger was recovered, and which hosts were compared with it since."""
