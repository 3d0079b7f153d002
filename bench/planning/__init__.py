"""Grid file to cells, identities, states and stacks. Reads records, computes nothing."""
