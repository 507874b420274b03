"""Many scans of known scanners: a reference learned from those of one, and all of them compared."""
