"""What every room stands on: configuration, errors, clock, log, retry, tasks. No product words here."""
