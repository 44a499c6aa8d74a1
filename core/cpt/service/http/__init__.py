"""What goes over the wire: clients, bodies, errors, limits."""
