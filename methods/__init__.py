"""One file per method; each file's name is the name under which its method is registered."""
