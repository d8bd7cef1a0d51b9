"""`virtscale contract`: documents are drafted, signed, checked, handed in and shown."""
