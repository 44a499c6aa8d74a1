"""A run is a folder: every stage reads and writes files there, and nothing else."""
