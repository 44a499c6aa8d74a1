"""The journal of a run: what was asked, what was answered, what it cost."""
