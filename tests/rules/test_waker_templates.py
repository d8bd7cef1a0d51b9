"""A template is filled in for one VM, and one that lacks something is refused before anything is started."""

from pathlib import Path

import pytest

from schemas.template import has_disk, has_seed
from services.waker.templates import TemplateMissingError, fill

TEXT = "<domain><name>{name}</name><d>{disk}</d><s>{seed}</s></domain>"


def _template(directory: Path, text: str) -> Path:
    (directory / "tiny").mkdir()
    (directory / "tiny" / "domain.xml").write_text(text)
    return directory


def test_disk_and_seed_disk_stand_where_the_template_wants_them_and_cannot_end_the_text(
    tmp_path: Path,
) -> None:
    filled = fill(_template(tmp_path, TEXT), "tiny", {"name": "a"}, "<m/>", "/d", seed="/s'<&")
    assert "<d>/d</d><s>/s&#x27;&lt;&amp;</s>" in filled
    assert "<metadata><m/></metadata>" in filled


def test_a_template_with_a_seed_disk_is_not_filled_in_for_a_vm_that_has_none(tmp_path: Path) -> None:
    with pytest.raises(TemplateMissingError, match=r"\{seed\}.*nobody said who it is\. Nothing was started"):
        fill(_template(tmp_path, TEXT), "tiny", {"name": "a"}, "", "/d")


def test_a_template_without_a_seed_disk_takes_none(tmp_path: Path) -> None:
    plain = _template(tmp_path, "<domain><name>{name}</name></domain>")
    assert "/s" not in fill(plain, "tiny", {"name": "a"}, "", None, seed="/s").replace("</", "")
    assert (has_seed(plain / "tiny"), has_disk(plain / "tiny"), has_seed(tmp_path)) == (False, False, False)
