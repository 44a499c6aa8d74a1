"""What the page says, read from a run folder as plain data."""
