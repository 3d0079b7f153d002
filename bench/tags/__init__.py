"""The old place of what methods for images with several tags share, kept for one version."""
