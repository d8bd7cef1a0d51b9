"""`virtscale key`: the secret keys of those who sign, and what the ledger knows of them."""
