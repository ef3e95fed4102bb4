"""Datasets of any origin: where images and labels lie, what their ids mean, and how they are packed and checked."""
