"""Token ids to log-probabilities, exactly and fast."""
