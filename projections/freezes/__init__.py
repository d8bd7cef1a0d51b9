"""Freezes: which pools stand still, until when, and who said so."""
