"""Drafts of rows that run beside the live ones until they have agreed with the others, and versions to fall back to."""
