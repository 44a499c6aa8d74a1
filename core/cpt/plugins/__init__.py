"""Plugins, and the components that they offer."""
