"""The exchange admin: rows from outside, audits, discovery."""
