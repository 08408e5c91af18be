"""A study from its plan to its published networks, for the command line and for Python."""
