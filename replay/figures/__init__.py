"""What the engineering page says, number by number: each a fold over the ledger, and how it is made of it."""
