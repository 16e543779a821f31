"""New poses for existing depth data sets, written beside them in their own formats (entry: annotate.py)."""
