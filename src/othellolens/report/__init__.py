"""Pages that a person can look at."""
