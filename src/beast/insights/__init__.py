"""What the database can tell: usage summed up, how the database itself fares, and questions of the operator's own."""
