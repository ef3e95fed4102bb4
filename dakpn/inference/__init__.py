"""Applying trained weights: to one image, and to one shard of a dataset."""
