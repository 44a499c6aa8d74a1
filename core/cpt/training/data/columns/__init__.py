"""A corpus in columns: arrays in memory, and files of which only what is asked for is read."""
