"""The optimizer, and its learning rate at each step."""
