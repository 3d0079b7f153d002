"""Imports nothing of ours; knows no image, method or grid, and needs no torch."""
