"""What the nodes share: application parameters and profiles."""
