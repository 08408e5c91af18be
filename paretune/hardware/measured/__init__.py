"""Devices that measure: the machine paretune runs on, its clocks, counters and references."""
