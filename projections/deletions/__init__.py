"""Deletions of kept VMs: which are scheduled, how far each has come, and those that are over."""
