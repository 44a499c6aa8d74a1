"""What can be seen of pairs without a tokenizer: in one pair, and over all of them."""
