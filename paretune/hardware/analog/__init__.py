"""Analog in-memory computing: presets, hardware-aware training and accuracy under drift, in plain torch."""
