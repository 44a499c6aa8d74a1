"""Prices, budgets and estimates: what answers cost, in US dollars."""
