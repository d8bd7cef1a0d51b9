"""The commands `virtscale key …`."""

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from virtscale.invocation import Output, here, present_house

app = App(
    name="key",
    help="Keys by which contracts are signed. The secret half is in a file of mode 0600 and is never shown.",
)

Org = Annotated[str, Parameter(name="ORG", help="an org, or `provider` for whoever runs the platform")]
Public = Annotated[str, Parameter(name="PUBLIC", help="the public key: 64 hexadecimal digits")]


@app.command
def new(
    org: Org,
    /,
    *,
    path: Annotated[
        Path | None, Parameter(help="where the secret key goes; the house's own place if absent")
    ] = None,
    output: Output = "table",
) -> int:
    """Make a key; what is shown is its public half. Then: `virtscale key register ORG`."""
    from virtscale.keys import keyring

    return keyring.new(None if path else present_house(), org, path, output)


@app.command
def register(
    org: Org,
    /,
    *,
    public: Annotated[
        str | None, Parameter(help="the public key, where the secret is not on this machine")
    ] = None,
    former: Annotated[str | None, Parameter(help="the public key whose place it takes")] = None,
    endorsement: Annotated[
        str | None, Parameter(help="the former key's signature over the succession, in hexadecimal")
    ] = None,
) -> int:
    """Have the org's signatures checked against this key from now on."""
    from virtscale.keys import keyring

    return keyring.register(present_house(), org, public, former, endorsement)


@app.command
def rotate(org: Org, /) -> int:
    """Put a new key in the place of the present one, which signs for its successor."""
    from virtscale.keys import keyring

    return keyring.rotate(present_house(), org)


@app.command
def revoke(
    org: Org,
    public: Public,
    /,
    *,
    reason: Annotated[str, Parameter(help="why, in a few words that name nobody")],
    actor: Annotated[str | None, Parameter(name="--as", help="who says so; your user name if absent")] = None,
) -> int:
    """Trust a key no more: nothing new counts as signed by it, and no addendum by it takes effect.

    A contract in force that it signed stays in force; it was genuine when it was accepted.
    """
    from virtscale.keys import keyring

    return keyring.revoke(present_house(), org, public, reason, actor)


@app.command(name="list")
def list_keys(*, output: Output = "table") -> int:
    """Registered keys: current, replaced or revoked, and where the secret half lies if it is here."""
    from virtscale.keys import keyring

    return keyring.show_keys(here(), output)
