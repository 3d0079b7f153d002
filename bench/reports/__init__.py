"""Turns records and registries into tables, text, pictures and MLflow runs. Changes no result."""
