"""Costs computed from the layers of a network by a model of an accelerator."""
