"""Commands for the people who build the project; nothing of it is installed or shipped."""
