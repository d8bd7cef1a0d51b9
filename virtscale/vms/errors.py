"""What can be said no to about one VM; kept by themselves, so that whoever only names them does not load libvirt."""


class ConsoleError(Exception):
    """There is no line to that VM; nothing was changed there."""

    code = "ConsoleUnavailable"
