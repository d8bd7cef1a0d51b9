"""Contracts: the documents of every org, accepted and in effect, and the keys of those who sign them."""
