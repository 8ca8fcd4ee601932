"""Scripts and programs: what running them costs, and what thousands of them cost that only wait."""
