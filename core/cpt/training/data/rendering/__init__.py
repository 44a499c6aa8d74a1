"""Conversations as text, by the chat template."""
