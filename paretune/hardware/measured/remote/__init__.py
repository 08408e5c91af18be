"""Devices that are measured by a process of their own, over one small protocol (docs/devices.md)."""
