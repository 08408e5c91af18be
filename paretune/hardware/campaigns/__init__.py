"""Measuring many layers or networks of a space on a device, for a table or a training set."""
