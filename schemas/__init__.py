"""Values and documents that every other part agrees on; the lowest floor, it imports nothing of ours."""
