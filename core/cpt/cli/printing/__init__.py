"""What commands print: results, summaries, estimates and progress."""
