"""Formats of AlpacaEval: judged comparisons, and what length control needs."""
