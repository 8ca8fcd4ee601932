"""Cost of runs of scripts and programs, and of thousands of idle programs."""
