"""Why something is not done: a stable code that programs compare, and a sentence for people."""

from dataclasses import dataclass

from schemas.codes import Code


@dataclass(frozen=True, slots=True)
class Objection:
    """One reason against a request, with its number, the limit, whose limit it is, and what to do instead."""

    code: Code
    text: str
