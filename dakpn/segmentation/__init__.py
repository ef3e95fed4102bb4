"""Training and scoring of segmentation networks: the source encoder and the downstream judge."""
