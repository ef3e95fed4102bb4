"""Training: tasks (a model and its losses in one forward), the loop, checkpoints."""
