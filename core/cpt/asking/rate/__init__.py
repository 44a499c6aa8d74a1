"""How often and how fast one endpoint is asked."""
