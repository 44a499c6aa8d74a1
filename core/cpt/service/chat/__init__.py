"""Chat completions, and what chat services have in common."""
