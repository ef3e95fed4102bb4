"""The translation function, the networks that predict its params, and the discriminators."""
