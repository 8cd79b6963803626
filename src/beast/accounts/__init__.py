"""Users, API keys, tiers and quotas."""
