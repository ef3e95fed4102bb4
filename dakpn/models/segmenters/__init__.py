"""Segmentation networks: encoders of the predictor and downstream networks alike."""
