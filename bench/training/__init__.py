"""Fits one stack of studies. Never sees an exam, a record or a grid."""
