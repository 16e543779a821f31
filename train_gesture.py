"""The entry: gestures recognised from sequences of hand skeletons. `python train_gesture.py --help` lists the options.

python train_gesture.py EXPERIMENT --data.root DIR [--data.skeletons DIR] [--data.fold K] [--data.classes 28] ...
python train_gesture.py --parameters      # how large the recognisers are; the last line is JSON
"""

import json
import sys
from collections.abc import Sequence

from gesture.launch import parse_launch
from util.cli import run_entry


def main(words: Sequence[str]) -> None:
    """Run the experiment that the command line names (see `gesture.launch.parse_launch`)."""
    launch = parse_launch(words)
    if launch.parameters:
        from gesture.recognisers import RECIPES, parameter_counts

        counts = parameter_counts()
        for name, recipe in RECIPES.items():
            published = "not known" if recipe.published is None else f"{recipe.published:,}"
            sys.stdout.write(f"{recipe.title:14}{counts[name]:>12,}   published {published}\n")
        sys.stdout.write(json.dumps(counts) + "\n")
        return
    from gesture.run import run  # after the command line is understood: torch takes seconds to import

    run(launch.experiment, launch.folder, launch.resume)


if __name__ == "__main__":
    sys.exit(run_entry(main))
