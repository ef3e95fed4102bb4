"""Contenders: the ways to translate that an evaluation compares.

A contender turns a labelled synthetic image into the image that the downstream net trains on, at the size of the
evaluation. Where a draw changes the image, every batch gets fresh draws.
"""
