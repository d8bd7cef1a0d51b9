"""The commands `virtscale ledger …` beyond the tail: the ledger verified, handed out, proven."""
