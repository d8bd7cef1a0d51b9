"""Views of the ledger: one folder each, with a pure fold and the table that it keeps."""
