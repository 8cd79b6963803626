"""The ASGI side: everything the workers do not answer themselves."""
