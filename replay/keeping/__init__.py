"""The ledger kept through its age and its disasters: rolled, recovered, copied and put back."""
