import base64
import io
import json
import struct
import subprocess
from pathlib import Path

import msgspec
import pycdlib
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.seed import MOST_KEYS, MOST_USER_DATA_BYTES, Seed, SeedError, check, files
from services.storage.files import seed as seeds
from services.storage.files.iso import SECTOR, image

SEED = Seed("i-1", "web-1")


def _key(kind: str, *parts: bytes, comment: str = "me@home") -> str:
    blob = b"".join(struct.pack(">I", len(part)) + part for part in (kind.encode(), *parts))
    return f"{kind} {base64.b64encode(blob).decode()} {comment}".rstrip()


ED25519 = _key("ssh-ed25519", bytes(32))
RSA = _key("ssh-rsa", b"\1\0\1", b"\0" + b"\xff" * 256)
GOOD = [
    ED25519,
    RSA,
    ED25519.rsplit(" ", 1)[0],
    ED25519 + ' at home, "quoted" \\ ü',
    f"  {ED25519}\n",
    _key("ecdsa-sha2-nistp256", b"nistp256", b"\4" + bytes(64)),
    _key("sk-ssh-ed25519@openssh.com", bytes(32), b"ssh:"),
    _key("sk-ecdsa-sha2-nistp256@openssh.com", b"nistp256", b"\4" + bytes(64), b"ssh:"),
]
BAD = {
    "": "not one line",
    "ssh-ed25519": "not one line",
    f"{ED25519}\n{RSA}": "not one line",
    f"{ED25519}\rmore": "not one line",
    f"{ED25519}\x00": "not one line",
    f"{ED25519}\u2028- evil": "not one line",
    f'command="rm" {ED25519}': "options",
    f"no-pty {RSA}": "options",
    _key("ssh-dss", b"1", b"2", b"3", b"4"): "no kind of key",
    "ssh-rsa-cert-v01@openssh.com AAAA": "no kind of key",
    "-----BEGIN OPENSSH PRIVATE KEY-----": "no kind of key",
    "ssh-ed25519 not*base64": "base64",
    "ssh-ed25519 AAAA": "was cut",
    ED25519.split()[0] + " " + ED25519.split()[1][:-8]: "was cut",
    RSA.replace("ssh-rsa", "ssh-ed25519"): "was cut",
    _key("ssh-ed25519", bytes(31)): "was cut",
    _key("ssh-ed25519", bytes(32), b"more"): "was cut",
    _key("ssh-rsa", b"\1\0\1", b"\xff" * 128): "1024 bits",
    _key("ssh-ed25519", bytes(32), comment="x" * 5000): "4096",
}


@pytest.mark.parametrize("key", GOOD)
def test_every_kind_of_key_that_openssh_makes_today_is_taken(key: str) -> None:
    check(Seed("i-1", "web-1", (key,)))


@pytest.mark.parametrize(("key", "said"), BAD.items())
def test_what_is_no_key_and_no_more_is_refused_with_its_number_and_what_to_do(key: str, said: str) -> None:
    with pytest.raises(SeedError, match=said) as caught:
        check(Seed("i-1", "web-1", (ED25519, key)))
    assert caught.value.code == "SshKeyInvalid"
    assert str(caught.value).startswith("Ssh key 2 ")


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa"])
def test_what_ssh_keygen_makes_is_taken(tmp_path: Path, kind: str) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", tmp_path / "key"], check=True, timeout=60)
    check(Seed("i-1", "web-1", ((tmp_path / "key.pub").read_text(),)))


def test_user_data_of_the_very_limit_is_taken_and_a_byte_more_is_not() -> None:
    text = b"#!/bin/sh\n".ljust(MOST_USER_DATA_BYTES, b"#")
    check(Seed("i-1", "web-1", user_data=text))
    with pytest.raises(SeedError, match="16385 bytes, and 16384 is the limit") as caught:
        check(Seed("i-1", "web-1", user_data=text + b"#"))
    assert caught.value.code == "UserDataTooLarge"


def test_user_data_that_cloud_init_would_leave_out_is_refused_and_not_shown() -> None:
    with pytest.raises(SeedError) as caught:
        check(Seed("i-1", "web-1", user_data=b"password: hunter2\n"))
    assert caught.value.code == "UserDataUnknown"
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("hostname", ["", "-a", "a-", "Web", "a.b", "a" * 64, "a\n", "ü", "a_b"])
def test_what_is_no_hostname_is_refused(hostname: str) -> None:
    with pytest.raises(SeedError) as caught:
        check(Seed("i-1", hostname))
    assert caught.value.code == "HostnameInvalid"


@pytest.mark.parametrize("instance", ["", " ", "a\nb: c", 'a"b', "a" * 129, "-a"])
def test_what_is_no_instance_id_is_refused(instance: str) -> None:
    with pytest.raises(SeedError) as caught:
        check(Seed(instance, "web-1"))
    assert caught.value.code == "InstanceIdInvalid"


def test_more_keys_and_more_network_than_the_limit_are_refused() -> None:
    with pytest.raises(SeedError, match=f"{MOST_KEYS + 1} ssh keys"):
        check(Seed("i-1", "web-1", (ED25519,) * (MOST_KEYS + 1)))
    with pytest.raises(SeedError) as caught:
        check(Seed("i-1", "web-1", network_config=bytes(16385)))
    assert caught.value.code == "NetworkConfigTooLarge"


def test_both_of_nocloud_s_files_are_there_and_a_host_called_no_is_no_false() -> None:
    named = files(Seed("1e3", "no", (ED25519 + ' "q" \\',)))
    assert named["user-data"] == b""
    instance, host, keys, key = named["meta-data"].decode().splitlines()
    assert (instance, host, keys) == ('instance-id: "1e3"', 'local-hostname: "no"', "public-keys:")
    assert json.loads(key.removeprefix("  - ")) == ED25519 + ' "q" \\'
    assert "network-config" not in named
    assert files(Seed("i", "h", network_config=b"version: 2\n"))["network-config"] == b"version: 2\n"


def test_a_seed_that_gets_into_a_log_says_nothing_of_its_user_data() -> None:
    assert repr(Seed("i-1", "web-1", (ED25519,), b"#!/bin/sh\n")) == "Seed('i-1', 'web-1', 1 keys, 10 bytes)"


def test_a_seed_goes_through_json_and_back() -> None:
    seed = Seed("i-1", "web-1", (ED25519,), b"#!/bin/sh\n\xff", b"version: 2\n")
    assert msgspec.json.decode(msgspec.json.encode(seed), type=Seed) == seed


def test_the_same_seed_gives_the_same_disk_and_another_seed_another() -> None:
    assert seeds.disk(SEED) == seeds.disk(Seed("i-1", "web-1"))
    assert seeds.disk(SEED) != seeds.disk(Seed("i-2", "web-1"))
    assert seeds.disk(SEED)[: 16 * SECTOR] == bytes(16 * SECTOR)


def test_the_system_s_own_look_at_disks_finds_the_label(tmp_path: Path) -> None:
    path = tmp_path / "seed.iso"
    path.write_bytes(seeds.disk(SEED))
    seen = subprocess.run(
        ["/sbin/blkid", "-p", "-o", "export", path], check=True, capture_output=True, text=True, timeout=30
    ).stdout.splitlines()
    assert {"LABEL=cidata", "TYPE=iso9660", r"VERSION=Joliet\ Extension"} <= set(seen)


@given(
    st.dictionaries(
        st.from_regex(r"[a-z][a-z0-9-]{0,20}", fullmatch=True),
        st.integers(0, 3)
        .flatmap(lambda sectors: st.integers(max(sectors * SECTOR - 1, 0), sectors * SECTOR + 1))
        .map(lambda size: bytes(number % 251 for number in range(size))),
        max_size=6,
    )
)
def test_another_reader_finds_every_file_with_every_byte_by_either_of_its_names(
    named: dict[str, bytes],
) -> None:
    made = image("cidata", named)
    assert len(made) % SECTOR == 0
    disk = pycdlib.PyCdlib()
    disk.open_fp(io.BytesIO(made))
    for name, content in named.items():
        for path in ({"joliet_path": f"/{name};1"}, {"iso_path": f"/{name.upper().replace('-', '_')}.;1"}):
            read = io.BytesIO()
            disk.get_file_from_iso_fp(read, **path)
            assert read.getvalue() == content
    assert sum(child.is_file() for child in disk.list_children(joliet_path="/")) == len(named)
    disk.close()
