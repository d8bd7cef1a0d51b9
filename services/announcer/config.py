"""HAProxy's configuration file: the installation's own part, with the serving VMs written into their backends.

What is added to HAProxy while it runs is gone when it reloads or starts again. So the file always lists who
serves: runtime first, file second. They stand below the line `# servers of <backend>`; in a backend that has no such
line, they stand below its head.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

_MARK: Final = re.compile(r"([ \t]*)# servers of (\S+)[ \t]*")
_HEAD: Final = re.compile(r"backend[ \t]+(\S+)[ \t]*")
_INDENT: Final = "    "


def mark(backend: str) -> str:
    """The line below which the servers of a backend are listed."""
    return f"# servers of {backend}"


def render(own: str, servers: Mapping[str, Mapping[str, str]]) -> tuple[str, list[str]]:
    """The whole file's text, and the backends for which it has no place.

    `own` is the installation's part, `servers` gives backend -> name -> address. Equal servers give equal text.
    """
    own_lines = own.splitlines()
    marked = {found[2] for line in own_lines if (found := _MARK.fullmatch(line))}
    lines: list[str] = []
    placed: set[str] = set()
    for line in own_lines:
        lines.append(line)
        at_mark, at_head = _MARK.fullmatch(line), _HEAD.fullmatch(line)
        if at_mark:
            indent, backend = at_mark[1], at_mark[2]
        elif at_head and at_head[1] not in marked:
            indent, backend = _INDENT, at_head[1]
        else:
            continue
        placed.add(backend)
        lines.extend(
            f"{indent}server {name} {address}" for name, address in sorted(servers.get(backend, {}).items())
        )
    homeless = sorted(backend for backend, listed in servers.items() if listed and backend not in placed)
    return "\n".join(lines) + "\n", homeless


def write(path: Path, text: str) -> None:
    """The file holds the text, whole: whoever reads it at any moment sees the old one or this one."""
    draft = path.with_name(f"{path.name}.kept")
    draft.write_text(text)
    draft.replace(path)
