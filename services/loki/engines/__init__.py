"""Worker processes and the engines in them. The service talks to them over `wire` and shares no memory with them."""
