"""Volumes as qcow2 files in one directory of a host, and what else lies there."""
