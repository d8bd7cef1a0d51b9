"""A forecast against the past: traces, the score, the rules it is compared with, and what a contract would need."""
