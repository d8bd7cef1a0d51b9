"""A certificate authority of a lab's own, with a server's and a client's certificate, as libvirt wants to find them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from lab.errors import LabError
from lab.part import find_program

MEND = "apt-get install -y --no-install-recommends openssl"
DAYS = "30"
OPENSSL_SECONDS = 30.0


@dataclass(frozen=True)
class Certificates:
    """Where they lie: `pki` is what a client names in `?pkipath=`; the server's files are beside it."""

    pki: Path
    server_certificate: Path
    server_key: Path

    @property
    def authority(self) -> Path:
        """The certificate by which both sides know each other."""
        return self.pki / "cacert.pem"


async def issue(directory: Path, address: str) -> Certificates:
    """A server at the IP `address` and a client have keys and certificates of a new authority, for 30 days."""
    pki = directory / "pki"
    pki.mkdir(parents=True)
    authority_key = directory / "cakey.pem"
    await _openssl(
        *("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", DAYS, "-subj", "/CN=virtscale lab"),
        *("-addext", "keyUsage=critical,keyCertSign,cRLSign"),
        *("-keyout", str(authority_key), "-out", str(pki / "cacert.pem")),
    )
    made = Certificates(pki, directory / "servercert.pem", directory / "serverkey.pem")
    usual = "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature,keyEncipherment\n"
    server = f"{usual}extendedKeyUsage=serverAuth\nsubjectAltName=IP:{address}\n"
    client = f"{usual}extendedKeyUsage=clientAuth\n"
    for name, key, certificate, extensions in (
        (address, made.server_key, made.server_certificate, server),
        ("waker", pki / "clientkey.pem", pki / "clientcert.pem", client),
    ):
        wish, wanted = directory / f"{name}.csr", directory / f"{name}.ext"
        wanted.write_text(extensions)
        await _openssl(
            *("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}"),
            *("-keyout", str(key), "-out", str(wish)),
        )
        await _openssl(
            *("x509", "-req", "-in", str(wish), "-days", DAYS, "-extfile", str(wanted), "-CAcreateserial"),
            *("-CA", str(made.authority), "-CAkey", str(authority_key), "-out", str(certificate)),
        )
    return made


async def _openssl(*words: str) -> None:
    program = find_program("openssl")
    if program is None:
        raise LabError("lab.program-missing", f"There is no openssl on this machine: {MEND}.")
    process = await asyncio.create_subprocess_exec(
        program, *words, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    _, errors = await asyncio.wait_for(process.communicate(), OPENSSL_SECONDS)
    if process.returncode != 0:
        raise LabError("lab.certificate-failed", f"openssl {words[0]} failed: {errors.decode().strip()}.")
