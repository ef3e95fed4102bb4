"""Verification of a translated dataset against its source, trusting nothing that the dataset says of itself."""
