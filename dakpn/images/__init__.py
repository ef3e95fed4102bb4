"""Encoded images and labels: codecs, headers, orientation and augmentation. Nothing here imports torch."""
