"""Translation of an image, of a shard and of a whole dataset."""
