"""VM templates on disk: one directory each, with a `domain.xml` that is filled in for every VM."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from services.waker.port import HypervisorError

FILE: Final = "domain.xml"


class TemplateMissingError(HypervisorError):
    """There is no such template, or it cannot be filled in; trying again cannot help."""

    code = "TemplateMissing"

    def __init__(self, text: str) -> None:
        super().__init__(text, final=True)


def fill(directory: Path, template: str, values: Mapping[str, object], metadata: str) -> str:
    """The domain's XML: the placeholders `{name}`, `{uuid}`, `{vcpu}`, `{memory_mib}`, `{address}`, `{port}`
    have their values.

    `metadata` becomes the domain's metadata element. The trap: the text is for `str.format`, so a brace that
    is meant for libvirt is written twice.
    """
    path = directory / template / FILE
    try:
        text = path.read_text()
    except OSError as error:
        raise TemplateMissingError(
            f"Template {template} cannot be read at {path} ({error.strerror}); put a {FILE} there. Nothing was started."
        ) from error
    try:
        filled = text.format_map(values)
    except (KeyError, ValueError, IndexError, AttributeError) as error:
        raise TemplateMissingError(
            f"{path} has a placeholder that nobody fills ({error}); known are {', '.join(values)}. Nothing was started."
        ) from error
    head, name_end, rest = filled.partition("</name>")
    if not name_end or "<metadata" in filled:
        raise TemplateMissingError(
            f"{path} must have a <name> and no <metadata> of its own. Nothing was started."
        )
    return f"{head}{name_end}\n  <metadata>{metadata}</metadata>{rest}"
