"""Rows of files and data sets, whatever they hold."""
