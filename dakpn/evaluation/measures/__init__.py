"""Realism and honesty of translated images: distances, label preservation, edge displacement, colors."""
