"""Gestures recognised from sequences of hand skeletons (or point clouds): data sets, splits, recognisers, training."""
