"""HAProxy's configuration file: the installation's own part, with the serving VMs written into their backends.

What is added to HAProxy while it runs is gone when it reloads or starts again. So the file always lists who
serves: runtime first, file second. A line `# servers of <backend>` in the installation's part says where.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

_MARK: Final = re.compile(r"([ \t]*)# servers of (\S+)[ \t]*")


def mark(backend: str) -> str:
    """The line below which the servers of a backend are listed."""
    return f"# servers of {backend}"


def render(own: str, servers: Mapping[str, Mapping[str, str]]) -> tuple[str, list[str]]:
    """The whole file's text, and the backends for which it has no place.

    `own` is the installation's part, `servers` gives backend -> name -> address. Equal servers give equal text.
    """
    lines: list[str] = []
    placed: set[str] = set()
    for line in own.splitlines():
        lines.append(line)
        found = _MARK.fullmatch(line)
        if found is None:
            continue
        indent, backend = found.groups()
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
