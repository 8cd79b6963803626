"""The price stream: watched prices, numbered, told to every client at the pace at which it reads."""
