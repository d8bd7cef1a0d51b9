"""Snapshots and backups of volumes: made, dropped, restored, and asked for each night."""
