"""What other scanners make of a volume or of slices: known changes to score by, random ones to train against."""
