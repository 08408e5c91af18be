"""Ray clusters from their files: check one, start and end it, send studies to it."""
