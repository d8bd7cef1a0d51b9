"""The commands `virtscale contract …`: a contract's life, from a draft to its end."""

from decimal import Decimal
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from virtscale.invocation import Output, here, present_house

app = App(
    name="contract",
    help="Contracts: drafted, signed by both sides, in force, amended. There is no override of the signed cap.",
)

File = Annotated[Path, Parameter(name="FILE", help="a contract file, TOML or JSON")]
Key = Annotated[
    Path | None, Parameter(name="--key", help="the file of the secret key; the house's own if absent")
]
Anew = Annotated[bool, Parameter(help="drop signatures that do not fit the terms any more", negative="")]


@app.command
def new(
    org: str,
    *,
    addendum: Annotated[
        bool, Parameter(help="start from the newest accepted document of the org", negative="")
    ] = False,
    amends: Annotated[Path | None, Parameter(help="start from this document, as --addendum does")] = None,
    quota: Annotated[
        list[str] | None,
        Parameter(help="vcpu=100,memory=480GiB,block=10TiB,object=10TiB; what is not said stays as it was"),
    ] = None,
    allowance: Annotated[Decimal | None, Parameter(help="percent above the quota: 5, 10 or 20")] = None,
    reserve: Annotated[
        Decimal | None, Parameter(help="warm reserve in percent of the quota: 5 to 20")
    ] = None,
    price: Annotated[Decimal | None, Parameter(help="EUR per month")] = None,
    owner: Annotated[
        str | None,
        Parameter(help="PERSON=MAIL; the address goes into the vault, the file has a commitment to it"),
    ] = None,
    technical: Annotated[list[str] | None, Parameter(help="PERSON=MAIL; may be said more than once")] = None,
    valid_from: Annotated[str | None, Parameter(help="2026-12-01, or 2026-12-01T09:00:00Z")] = None,
    valid_until: Annotated[str | None, Parameter(help="the instant at which it ends")] = None,
    effective_from: Annotated[
        str | None, Parameter(help="when an addendum takes effect; 31 days from now if absent")
    ] = None,
    id: Annotated[str | None, Parameter(help="the contract's id; ORG-YEAR if absent")] = None,
    output: Annotated[
        Path | None, Parameter(name=["-o", "--output"], help="the file to write; standard output if absent")
    ] = None,
) -> int:
    """Draft a contract, or an addendum, as a commented TOML file that a person can read and change."""
    from virtscale.contracts import drafts

    wishes = drafts.Wishes(
        tuple(quota or ()),
        allowance,
        reserve,
        price,
        owner,
        tuple(technical or ()),
        valid_from,
        valid_until,
        effective_from,
        id,
    )
    return drafts.draft(present_house(), org, wishes, amends, output, addendum=addendum)


@app.command
def sign(file: File, /, *, key: Key = None, anew: Anew = False) -> int:
    """Sign as the provider; the file keeps its words, and its signatures stand at its end."""
    from virtscale.contracts import signing as contracts

    return contracts.sign(None if key else present_house(), file, "provider", key, anew=anew)


@app.command
def cosign(file: File, /, *, key: Key = None, anew: Anew = False) -> int:
    """Sign as the org that the contract is of."""
    from virtscale.contracts import signing as contracts

    return contracts.sign(None if key else present_house(), file, "org", key, anew=anew)


@app.command
def verify(
    file: File,
    /,
    *,
    provider_key: Annotated[str | None, Parameter(help="the provider's public key, hexadecimal")] = None,
    org_key: Annotated[str | None, Parameter(help="the org's public key, hexadecimal")] = None,
    output: Output = "table",
) -> int:
    """Check form and both signatures, without a bus: against the keys given, or those registered in this house."""
    from virtscale.contracts import verdicts

    return verdicts.verify(here(), file, provider_key, org_key, output)


@app.command
def submit(file: File, /) -> int:
    """Hand in a signed document: in force at once, or an addendum at its time. Exit 0 accepted, 2 bad file, 3 refused."""
    from virtscale.contracts import signing as contracts

    return contracts.submit(present_house(), file)


@app.command
def show(org: Annotated[str | None, Parameter(name="ORG")] = None, /, *, output: Output = "table") -> int:
    """What is signed for, what is enforced of it today, who signed, and what is to come; without ORG, all documents."""
    from virtscale.contracts import shelf

    return shelf.show_contracts(here(), org, output)


@app.command
def diff(
    before: Annotated[str, Parameter(name="A", help="a file, or ORG@VERSION")],
    after: Annotated[str, Parameter(name="B", help="a file, or ORG@VERSION")],
    /,
    *,
    output: Output = "table",
) -> int:
    """What changes from one document to another, field by field."""
    from virtscale.contracts import differences

    return differences.show_differences(here(), before, after, output)
