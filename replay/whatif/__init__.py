"""What the gate would have answered by other rules: the recorded requests, decided again."""
