"""One module a data set: which frames it has, and its own files of joints; `catalogue` has them by name."""
