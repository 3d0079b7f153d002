"""Carries out a plan: encodes, hands stacks to workers, writes one record for every cell."""
