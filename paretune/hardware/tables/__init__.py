"""Lookup tables: costs of layers and of choices that add up, their files, and what differentiable searches make of them."""
