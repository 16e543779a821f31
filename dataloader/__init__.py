"""Depth frame -> hand crop: camera, crop, augmentation, points, in-memory stores, and one file a data set."""
