"""What the exchanges sent, kept in files and played again."""
