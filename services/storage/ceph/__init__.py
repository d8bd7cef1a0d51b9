"""Volumes as images in a Ceph cluster, and all that speaks to one."""
