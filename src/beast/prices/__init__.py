"""What prices are kept: assets, markets, and where each stands in the price table. Knows nothing of feeds."""
