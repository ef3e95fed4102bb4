"""Does translation help? Contenders, cells of an evaluation, and the report."""
