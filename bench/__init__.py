"""A benchmark harness for zero-shot learning from ambiguous labels on CLIP features."""

__version__ = "0.1.0"
