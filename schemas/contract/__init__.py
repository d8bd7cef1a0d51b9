"""The contract: what an org has signed for, as a document that both sides signed. Terms, form, signatures, acceptance."""
