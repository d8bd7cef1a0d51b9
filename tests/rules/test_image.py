from pathlib import Path

import pytest

from schemas import image
from schemas.image import Image, ImageError, image_of


def _stated(directory: Path, text: str) -> Image:
    (directory / image.FILE).write_text(text)
    return image_of(directory)


def test_a_template_that_states_nothing_is_a_guest_of_the_lab(tmp_path: Path) -> None:
    assert image_of(tmp_path) == Image("lab", "http")
    assert image_of(tmp_path).memory_floor_mib == 0


def test_a_managed_image_has_a_floor_of_3_gib_is_ready_by_its_page_and_takes_no_user_data(
    tmp_path: Path,
) -> None:
    managed = _stated(tmp_path, 'kind = "nixos-managed"\n')
    assert managed == Image("nixos-managed", "http")
    assert (managed.memory_floor_mib, managed.takes_seed) == (3072, False)


@pytest.mark.parametrize(
    ("text", "readiness"),
    [
        ('kind = "cloud-init"', "none"),
        ('kind = "cloud-init"\nreadiness = "none"', "none"),
    ],
)
def test_a_customers_image_has_no_floor_takes_a_seed_and_is_ready_when_it_runs(
    tmp_path: Path, text: str, readiness: str
) -> None:
    own = _stated(tmp_path, text)
    assert (own.kind, own.readiness, own.memory_floor_mib, own.takes_seed) == (
        "cloud-init",
        readiness,
        0,
        True,
    )


@pytest.mark.parametrize(
    "text",
    ['kind = "windows"', "kind = ", 'readiness = "agent"', 'kind = "cloud-init"\nmemory = 3', "kind = 3", ""],
)
def test_a_statement_that_cannot_be_read_is_never_taken_for_none(tmp_path: Path, text: str) -> None:
    with pytest.raises(ImageError, match=r"image\.toml") as caught:
        _stated(tmp_path, text)
    assert caught.value.code == "ImageUnreadable"


def test_a_statement_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / image.FILE).write_bytes(b"\xff\xfe")
    with pytest.raises(ImageError):
        image_of(tmp_path)


@pytest.mark.parametrize(
    ("kind", "readiness"), [("nixos-managed", "none"), ("cloud-init", "http"), ("cloud-init", "agent")]
)
def test_a_readiness_that_the_kind_cannot_be_asked_is_refused_with_those_that_it_can(
    tmp_path: Path, kind: str, readiness: str
) -> None:
    with pytest.raises(ImageError, match=r"they can be asked by (http|none) only"):
        _stated(tmp_path, f'kind = "{kind}"\nreadiness = "{readiness}"')
