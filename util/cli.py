"""From the words of a command line to settings, and from an error to one sentence and exit code 2.

Nothing slow is imported here: `--help` and a spelling mistake are answered at once.
"""

import contextlib
import dataclasses
import difflib
import io
import logging
import re
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated, TypeVar

import tyro

from config import DEFAULT, EXPERIMENTS, Experiment
from util.errors import UserError, of_surroundings
from util.interruption import Interrupted
from util.reading import readable
from util.settings import saved_experiment, settings, wild_setting

T = TypeVar("T")

PROGRAM = "train_render.py"
ROOMS = ("util", "render", "fitting", "dataloader", "model", "training", "predicting", "gesture", "annotating")
BOX = "╭╮╰╯│─ \n"


@dataclasses.dataclass(frozen=True)
class Launch:
    """One call of train_render.py."""

    experiment: Annotated[Experiment, tyro.conf.arg(name="")]
    """What is run."""
    run_dir: Path | None = None
    """The run folder (default: runs/NAME-TIME)."""
    resume: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Go on with the run in --run-dir."""
    load_model: Path | None = None
    """Start from the weights in this file: .safetensors, or a published .pth."""

    @property
    def folder(self) -> Path:
        """The run folder, named after the experiment and the time where --run-dir does not say."""
        return self.run_dir or Path("runs") / f"{self.experiment.name}-{time.strftime('%Y%m%d-%H%M%S')}"


def parse_launch(words: Sequence[str]) -> Launch:
    """The experiment named by the first word (or DEFAULT), with the overrides of the others.

    With --resume, the settings are those of the run folder, again with the overrides.

    Args:
        words: the command line without the program's name.

    Raises:
        UserError: an unknown experiment or option, a value of the wrong type, a path that does not exist.
        SystemExit: code 0, after --help.
    """
    words = list(words)
    name = words.pop(0) if words and not words[0].startswith("-") else None
    if name is not None and name not in EXPERIMENTS:
        raise UserError(
            f"There is no experiment '{readable(name)}'{guess(name, EXPERIMENTS)}: choose {', '.join(EXPERIMENTS)}."
        )
    experiment = EXPERIMENTS[name or DEFAULT]
    launch = parse_settings(Launch, Launch(experiment), words, f"{PROGRAM} {experiment.name}", _overview())
    if launch.resume:
        launch = _parse_resumed(launch, name, words)
    _check_paths(launch)
    return launch


def parse_settings(kind: type[T], default: T, words: Sequence[str], program: str, description: str = "") -> T:
    """A settings dataclass with the overrides of a command line.

    Args:
        kind: the dataclass.
        default: its value where the command line says nothing.
        words: the command line.
        program: what the command is called, for --help.
        description: printed by --help above the options.

    Raises:
        UserError: an unknown option or a value of the wrong type, in one sentence.
        SystemExit: code 0, after --help.
    """
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            parsed, unknown = tyro.cli(
                kind, default=default, args=words, prog=program, description=description, return_unknown_args=True
            )
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise UserError(f"{readable(_sentence(complaint.getvalue()))}: see {program} --help.") from None
    if unknown:
        options = [f"--{name.removeprefix('experiment.').replace('_', '-')}" for name, _ in settings(default)]
        word = next((w for w in unknown if w.startswith("-")), unknown[0])
        if word in EXPERIMENTS:
            raise UserError(f"The experiment's name comes first: {PROGRAM} {word} [OPTIONS].")
        raise UserError(f"{program} has no option '{readable(word)}'{guess(word, options)}: see {program} --help.")
    if name := wild_setting(parsed):
        option = f"--{name.removeprefix('experiment.').replace('_', '-')}"
        raise UserError(f"{option} takes a finite number that a machine can hold: see {program} --help.")
    return parsed


def run_entry(main: Callable[[Sequence[str]], int | None]) -> int:
    """Run a command with this process's words; its exit code: main's (or 0), 2 after a UserError, 130 after Ctrl-C.

    What the project's rooms log, notices and progress, goes to stderr as plain sentences. A full disk, a folder without
    access and the like are told as a UserError; a command that a signal asked to end has done so well (0).
    """
    threading.excepthook = _of_thread
    logging.basicConfig(format="%(message)s")
    for room in ROOMS:
        logging.getLogger(room).setLevel(logging.INFO)
    try:
        return main(sys.argv[1:]) or 0
    except UserError as error:
        _tell(error)
        return 2
    except OSError as error:
        if (told := of_surroundings(error)) is None:
            raise
        _tell(told)
        return 2
    except Interrupted as stop:
        _tell(stop)
        return 0
    except KeyboardInterrupt:
        sys.stderr.write("Stopped; --resume with the same --run-dir goes on from the last checkpoint.\n")
        return 130


def _tell(sentence: BaseException) -> None:
    with contextlib.suppress(OSError):  # stderr may be a file on the disk that is full
        sys.stderr.write(f"{' '.join(str(sentence).split())}\n")


def _of_thread(raised: threading.ExceptHookArgs) -> None:
    """TensorBoard writes in a thread of its own, which stumbles over a full disk before the main thread is told."""
    if not isinstance(raised.exc_value, OSError):
        threading.__excepthook__(raised)


def _parse_resumed(launch: Launch, name: str | None, words: list[str]) -> Launch:
    if launch.run_dir is None:
        raise UserError("--resume needs --run-dir DIR, the folder of the run to go on with.")
    saved = saved_experiment(launch.run_dir)
    if name is not None and name != saved.name:
        raise UserError(
            f"{launch.run_dir} holds a run of '{saved.name}', not of '{name}': leave the experiment's name out."
        )
    return parse_settings(Launch, Launch(saved), words, f"{PROGRAM} {saved.name}")


def _check_paths(launch: Launch) -> None:
    """What can be said before anything slow is imported; other files are looked at by what reads them."""
    for option, path in (("--load-model", launch.load_model), ("--data.root", launch.experiment.data.root)):
        if path is not None and not path.exists():
            raise UserError(f"{option} {path} does not exist: check the path.")
    if launch.run_dir is not None and launch.run_dir.exists() and not launch.run_dir.is_dir():
        raise UserError(f"--run-dir {launch.run_dir} is a file: give it a folder.")


def _overview() -> str:
    """The text above the options of --help."""
    width = max(map(len, EXPERIMENTS))
    lines = [f"  {name:{width}}  {e.about}{' (the default)' * (name == DEFAULT)}" for name, e in EXPERIMENTS.items()]
    return f"python {PROGRAM} [EXPERIMENT] [OPTIONS]\n\nExperiments:\n" + "\n".join(lines)


def guess(word: str, known: Iterable[str]) -> str:
    """What a misspelt word may have meant, as the end of a sentence's first half; empty without an idea."""
    close = difflib.get_close_matches(word.split("=")[0].replace("_", "-"), list(known), n=1, cutoff=0.7)
    return f" (did you mean {close[0]}?)" if close else ""


def _sentence(box: str) -> str:
    """What a boxed message of tyro's says, without the box, its title and the help below its first rule."""
    rows = [row.strip(BOX) for row in re.split(r"─{8,} *│", box)[0].splitlines()[1:]]
    text = " ".join(row for row in rows if row).rstrip(".")
    number = r"Error parsing (\S+): (?:invalid literal for (int)\(\).*: |could not convert string to (float): )(.*)"
    if parsed := re.match(number, text):
        option, whole, real, value = parsed.groups()
        return f"{option} takes {'an int' if whole else 'a ' + real}, not {value}"
    text = re.sub(r"\. (\w)", lambda match: f"; {match[1].lower()}", text).replace("typing.", "")
    return text[:1].upper() + text[1:]
