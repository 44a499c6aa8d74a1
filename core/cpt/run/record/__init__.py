"""What a run folder records: which stage was made from what."""
