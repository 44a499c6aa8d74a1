"""What a responder that calls a service is built from. Public: see the extension API."""
