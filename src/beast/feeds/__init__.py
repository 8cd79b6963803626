"""The exchanges: their rows, what is read out of their frames, and the connections that bring those."""
