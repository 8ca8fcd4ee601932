"""What is wrong in a script, and what probably is, found by reading it. Pure: runs nothing, asks nobody."""
