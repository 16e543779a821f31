"""Measurements of the project: against reference numbers, and of time."""
