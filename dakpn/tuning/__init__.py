"""Sweeps without Ray: the search space, what scores a trial, what it leaves, and what a sweep comes to."""
