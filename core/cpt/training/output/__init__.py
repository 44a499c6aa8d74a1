"""What a training leaves on disk: checkpoints and the model."""
