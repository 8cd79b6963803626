"""From the workers' usage rings to the accounts."""
