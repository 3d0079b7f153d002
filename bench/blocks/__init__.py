"""Tensor parts that several methods share, written for one run."""
