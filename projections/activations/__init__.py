"""Requests, their answers, and each VM's trip from asleep to serving in its five steps."""
