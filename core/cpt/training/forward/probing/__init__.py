"""What a model allows, found by trying it on a few rows."""
