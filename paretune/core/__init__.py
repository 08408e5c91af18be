"""Nouns and contracts of hardware-aware architecture search: numpy, moocore and the standard library only."""
