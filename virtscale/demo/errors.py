"""What a demonstration refuses, in a sentence each."""


class CurveError(ValueError):
    """A curve, or a piece of one, that cannot be played; the sentence says why."""

    code = "CurveRefused"
