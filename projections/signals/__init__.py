"""Queries of pools that yield nothing new."""
