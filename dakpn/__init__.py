"""dakpn: synthetic-to-real image translation that keeps every label exact."""

__version__ = "0.1.0"
