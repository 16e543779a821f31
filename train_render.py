"""The entry: the settings of an experiment to its phase. `python train_render.py --help` lists both."""

import sys
from collections.abc import Sequence

from util.cli import parse_launch, run_entry
from util.interruption import signals_end_it


def main(words: Sequence[str]) -> None:
    """Run the experiment that the command line names (see `util.cli.parse_launch`)."""
    with signals_end_it():
        launch = parse_launch(words)
        from training.run import run  # after the command line is understood: torch takes seconds to import

        run(launch.experiment, launch.folder, launch.resume, launch.load_model)


if __name__ == "__main__":
    sys.exit(run_entry(main))
