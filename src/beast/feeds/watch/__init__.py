"""The watchdog: what is quiet, what is dead, what was missed, and why a price is what it is."""
