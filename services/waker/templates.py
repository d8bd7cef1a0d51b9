"""VM templates on disk: one directory each, with a `domain.xml` that is filled in for every VM."""

from collections.abc import Mapping
from html import escape
from pathlib import Path

from schemas.template import DISK, DOMAIN, SEED
from services.waker.port import HypervisorError


class TemplateMissingError(HypervisorError):
    """There is no such template, or it cannot be filled in; trying again cannot help."""

    code = "TemplateMissing"

    def __init__(self, text: str) -> None:
        super().__init__(text, final=True)


def fill(
    directory: Path,
    template: str,
    values: Mapping[str, object],
    metadata: str,
    disk: str | None = None,
    *,
    seed: str | None = None,
) -> str:
    """The domain's XML: the placeholders `{name}`, `{uuid}`, `{vcpu}`, `{most_vcpu}`, `{memory_mib}`,
    `{address}`, `{port}`
    have their values; `{disk}` and `{seed}`, where the template has them, are the files of the VM's disk and of its seed disk.

    `metadata` becomes the domain's metadata element. The trap: the text is for `str.format`, so a brace that
    is meant for libvirt is written twice.
    """
    path = directory / template / DOMAIN
    try:
        text = path.read_text()
    except OSError as error:
        raise TemplateMissingError(
            f"Template {template} cannot be read at {path} ({error.strerror}); put a {DOMAIN} there. Nothing was started."
        ) from error
    if disk is None and DISK in text:
        raise TemplateMissingError(
            f"{path} has the placeholder {DISK}, and this VM has no disk that is known to be whole; one is made when a boot of a "
            "new VM is ordered. Nothing was started."
        )
    if seed is None and SEED in text:
        raise TemplateMissingError(
            f"{path} has the placeholder {SEED}, and this VM has no seed disk: nobody said who it is. Nothing was started."
        )
    try:
        filled = text.format_map({**values, "disk": escape(disk or ""), "seed": escape(seed or "")})
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
