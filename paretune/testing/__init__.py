"""Contract checks for plugins, Hypothesis strategies, and problems with known fronts, for our tests and for yours."""
