"""Files become a `Source`, labels become candidate sets. NumPy only: no torch, no encoder."""
