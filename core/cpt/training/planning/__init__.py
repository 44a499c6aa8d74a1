"""What a training will be: its pairs as token ids, their order, what it starts from."""
