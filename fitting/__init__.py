"""Hand parameters from labelled joints alone: closed-form skeleton, batched Levenberg-Marquardt, files and pictures."""
