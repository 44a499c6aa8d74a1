"""A loss at work: called, checked, measured."""
