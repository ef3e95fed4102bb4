"""Datasets as they lie on storage: rows, shards, manifests, the classes of their labels, and the order of a stream."""
