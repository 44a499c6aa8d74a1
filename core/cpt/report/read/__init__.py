"""What the report says, read from a run folder as plain data."""
