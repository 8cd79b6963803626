"""One connection: where it goes, what it asks for, what it is answered, and how it comes back."""
