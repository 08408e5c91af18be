"""Costs predicted by models that were fitted to measurements."""
