"""Words in, exit codes out. The only room that prints."""
