"""From a person's own depth frames to a hand: estimator, judgement, sequences, engines and what is written."""
