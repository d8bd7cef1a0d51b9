"""HTML as values: whatever is not markup already is text, and is escaped."""

from collections.abc import Iterable
from html import escape
from typing import Final

_VOID: Final = frozenset({"meta", "link", "br", "hr", "path", "line", "rect", "circle"})
"""Elements that this page uses without content."""


class Html(str):
    """Markup, which goes into a page as it is. Made by the functions here alone."""

    __slots__ = ()


Part = str | Html
"""Text, or markup."""


def text(part: Part) -> Html:
    """The part as markup: text is escaped, markup is left."""
    return part if isinstance(part, Html) else Html(escape(part, quote=True))


def joined(parts: Iterable[Part], between: str = "") -> Html:
    """The parts one after another."""
    return Html(escape(between).join(text(part) for part in parts))


def tag(name: str, /, *parts: Part, **attributes: str | int) -> Html:
    """An element. An attribute is written with dashes for underscores, and a last underscore is none: `class_`."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(str(value), quote=True)}"'
        for key, value in attributes.items()
    )
    if name in _VOID and not parts:
        return Html(f"<{name}{written}>" if name in {"meta", "link", "br", "hr"} else f"<{name}{written}/>")
    return Html(f"<{name}{written}>{joined(parts)}</{name}>")
