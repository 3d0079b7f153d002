"""The landmarks that come with the package, as YAML files."""
