"""Snapshots and backups of kept VMs' disks."""
