"""Chooses draw and epoch on training data; may call the judge on rehearsals only."""
