"""Volumes: the disk of each VM, and what of it is pinned."""
