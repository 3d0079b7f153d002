"""Other names of classes: where they come from, and the space that they span."""
