"""What a command's exit code means."""

from typing import Final

EXIT_DONE: Final = 0
EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_REFUSED: Final = 3
"""The gate said no, to all of it or to a part: past the signed cap, or no host has room."""
EXIT_NOT_FOUND: Final = 5
EXIT_TIMEOUT: Final = 6
"""Not ended in time; the request goes on."""
EXIT_INTERRUPTED: Final = 130
EXIT_UNREAD: Final = 141
"""Whoever read the output left before its end; as a shell says it of a program that SIGPIPE ended."""
