"""The translation function: its stages, the form in torch and the fused form for CPUs."""
