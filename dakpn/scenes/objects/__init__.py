"""What stands in the street."""
