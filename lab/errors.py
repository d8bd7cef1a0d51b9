"""The one error of the lab: a stable code and a sentence that ends with what mends it."""

from __future__ import annotations


class LabError(Exception):
    """Raised when a part of the lab cannot be had; `str(error)` is fit to be shown to a person as it is.

    `code` is stable (`lab.port-taken`), so that a caller can choose an exit code without reading prose.
    """

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence
