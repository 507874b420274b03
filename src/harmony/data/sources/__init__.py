"""Data sets: each lists its scans (`core.Source`), from folders and tables, or makes them of an atlas."""
