"""Programs that storage runs, and that do not outlive it."""

from typing import Final

TIED: Final = ("setpriv", "--pdeathsig", "KILL")
"""Put before a command that dies with the thread that started it: what a dead life of storage began does not go on beside the next
one's."""
