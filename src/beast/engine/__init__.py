"""The running workers as Python sees them, and their slow, readable twin."""
