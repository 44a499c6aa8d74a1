"""The ways to an answer: one request, a provider's batch, a model in this process."""
