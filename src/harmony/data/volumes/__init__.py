"""From a file to slices on the model's grid, and back to a file."""
