"""Maintenance: when VMs that are kept for their own sake are worked on, and what became of it."""
