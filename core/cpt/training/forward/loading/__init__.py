"""Models loaded for training, in the format that their weights are held in."""
