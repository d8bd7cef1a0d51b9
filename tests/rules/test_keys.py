import stat
from pathlib import Path

import pytest

from events import keys


def test_a_key_is_made_once_and_readable_by_its_owner_alone(tmp_path: Path) -> None:
    path = keys.path_of(tmp_path / "keys", "signal")
    public = keys.create(path)
    assert public.startswith("U")
    assert keys.create(path) == public, "safe to repeat"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert keys.public_key(keys.read(path)) == public
    assert keys.create(keys.path_of(tmp_path / "keys", "gate")) != public
    assert [one.name for one in path.parent.iterdir() if one.suffix != ".nk"] == []


def test_a_key_that_others_could_read_is_refused_with_what_mends_it(tmp_path: Path) -> None:
    path = tmp_path / "signal.nk"
    keys.create(path)
    path.chmod(0o604)
    with pytest.raises(keys.KeyFileError, match=f"chmod 600 {path}"):
        keys.read(path)


@pytest.mark.parametrize("content", [b"", b"SUAAAA", b"\xff\xfe", b"password" * 8])
def test_what_is_no_seed_is_refused_and_never_repeated(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "signal.nk"
    path.touch(mode=0o600)
    path.write_bytes(content)
    with pytest.raises(keys.KeyFileError) as caught:
        keys.read(path)
    assert "holds no nkey seed" in str(caught.value)
    assert "password" not in str(caught.value)


def test_a_missing_key_says_what_makes_it(tmp_path: Path) -> None:
    with pytest.raises(keys.KeyFileError, match="make up"):
        keys.read(tmp_path / "gone.nk")
