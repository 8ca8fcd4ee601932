"""What the registry does, apart from how it is asked and where it is kept; one module a kind of thing."""
