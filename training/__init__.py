"""The phases and their losses.

`run.py` takes an experiment to its phase: `pretrain.py` (rendered hands), `selfsupervise.py` (real crops without
labels), `evaluate.py` (test). `loop.py` is the optimisation they share. Losses: `supervised.py` for rendered hands,
`unlabelled.py` and `two_stage.py` for real crops, one function a term; a new term is one function there and one
weight in `config.py`.
`measures.py` scores without labels.
"""
