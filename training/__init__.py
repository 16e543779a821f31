"""The phases and their losses.

`run.py` takes an experiment to its phase: `pretrain.py` (rendered hands), `transfer.py` (image translation of rendered
hands, which `translation.py` lets the other phases use), `selfsupervise.py` (real crops without labels), `labelled.py`
(frames with labels), `evaluate.py` (test). `loop.py` is the optimisation they share. Losses: `supervised.py` for
rendered hands, `unlabelled.py`, `two_stage.py` and `teacher.py` for real crops, `transfer_losses.py` for translations,
one function a term; a new term is one function there and one weight among the settings.
`measures.py` scores without labels.
"""
