"""The sides of a server, each built from the rooms below and connected; `beast.app` says which and in what order."""
