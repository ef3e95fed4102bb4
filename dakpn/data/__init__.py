"""Datasets of images and labels: codecs, presets, storage, shards and their manifests."""
