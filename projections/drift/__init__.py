"""Drift: what of VMs is otherwise than the ledger has it, and guests whose kernel ran out of memory."""
