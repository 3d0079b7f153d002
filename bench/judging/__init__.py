"""The only reader of an exam. Returns numbers; writes nothing and chooses nothing."""
