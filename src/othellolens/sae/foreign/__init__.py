"""SAEs that other libraries wrote, read as ours."""
