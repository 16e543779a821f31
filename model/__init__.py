"""Networks only: backbone, offset maps of the pixel branch, hand parameters of the model branch, the two stages.

A new backbone goes into `backbone.py` (one entry in `BLOCKS`); how a branch reads joints or parameters off features is
in `pixel_branch.py` and `model_branch.py`; `network.py` puts stages together. `transfer.py` is the network of image
translation.
"""
