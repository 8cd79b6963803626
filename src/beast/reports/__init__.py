"""Reports of usage: what was answered, to whom, how fast and from where, in four formats."""
