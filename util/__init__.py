"""What several rooms share and nothing else: joint sets, metrics, drawing, checkpoints, run folders, commands."""
