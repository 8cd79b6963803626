"""The exchanges asked by REST, within their limits."""
