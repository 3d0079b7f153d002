"""Images and class names become vectors, once, and are remembered on disk."""
