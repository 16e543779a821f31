"""An experiment from its sequences to results.json, a confusion matrix and a line on the terminal."""

import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from config_gesture import GestureExperiment
from dataloader.datasets.gestures import Gesture
from gesture.bank import SequenceBank, skeleton_bank
from gesture.measure import measure
from gesture.picture import write_confusion
from gesture.recognisers import RECIPES, count_parameters, make_recogniser
from gesture.splits import Split, class_names, make_split
from gesture.train import GestureTraining
from util.checkpoint import fill_module, read_checkpoint
from util.errors import UserError
from util.joints import JOINT_SETS
from util.run_folder import RunFolder


def run(experiment: GestureExperiment, run_dir: Path, resume: bool = False) -> dict:
    """Train, select, test; returns what went into results.json.

    Raises UserError for bad input: missing or damaged data, a run folder in use, a loss that is not finite.
    """
    split = make_split(experiment.data, experiment.select)
    device = _device(experiment)
    learn, select, test = (bank.to(device) for bank in _banks(experiment, split))
    folder = RunFolder.open(run_dir, experiment, resume)
    torch.manual_seed(experiment.seed)
    classes, recogniser = experiment.data.classes, experiment.recogniser
    network = make_recogniser(recogniser, classes, JOINT_SETS[experiment.data.joints]).to(device)
    training = GestureTraining(experiment, network, learn, select, folder, resume)
    training.run()
    fill_module(network, read_checkpoint(folder.best_weights).state, folder.best_weights)
    scores, names = measure(network, test, recogniser, classes), class_names(classes)
    title = f"{RECIPES[recogniser.name].title}, {100 * scores.accuracy:.1f} % of {len(test)}"
    picture = write_confusion(folder.pictures / "confusion.png", scores.confusion, names, title)
    training.writer.add_image("test/confusion", picture, training.step, dataformats="HWC")
    training.writer.add_scalar("test/accuracy", scores.accuracy, training.best[2])
    training.writer.close()
    results = {
        "recogniser": recogniser.name,
        "parameters": count_parameters(network),
        "classes": classes,
        "joints": experiment.data.joints,
        "seed": experiment.seed,
        "subjects": split.subjects(),
        "sequences": {"learned": len(learn), "selected_on": len(select), "tested": len(test)},
        "frames_interpolated": learn.filled + (0 if select is test else select.filled) + test.filled,
        "test_sequences_without_a_hand": test.empty,
        "selected_on": experiment.select,
        "selected": dict(zip(("accuracy", "loss", "step"), training.best, strict=True)),
        "steps": training.step,
        "seconds": training.seconds,
        "test": scores.plain(names),
    }
    folder.write_results(results)
    _report(results, folder)
    return results


def _banks(experiment: GestureExperiment, split: Split) -> tuple[SequenceBank, SequenceBank, SequenceBank]:
    """What is learned from, selected on, tested on; the second is the third where that is asked for."""
    learn, test = (_bank(experiment, part, learn) for part, learn in ((split.train, True), (split.test, False)))
    select = test if experiment.select == "test" else _bank(experiment, split.validation, False)
    if not len(learn):
        raise UserError("No sequence to learn from shows a hand: look at the skeletons' files.")
    return learn, select, test


def _bank(experiment: GestureExperiment, gestures: Sequence[Gesture], learn: bool) -> SequenceBank:
    if RECIPES[experiment.recogniser.name].sees == "points":
        if experiment.recogniser.points > experiment.data.points:
            raise UserError(
                f"recogniser.points {experiment.recogniser.points} is more than data.points {experiment.data.points}: "
                "lower the first or raise the second."
            )
        from gesture.clouds import point_bank  # images are read for points alone

        return point_bank(experiment.data, gestures, learn)
    return skeleton_bank(experiment.data, gestures, learn)


def _device(experiment: GestureExperiment) -> torch.device:
    if experiment.device == "cuda" and not torch.cuda.is_available():
        raise UserError("The device cuda is not at hand: choose --device auto.")
    there = torch.cuda.is_available() and experiment.device != "cpu"
    return torch.device("cuda" if there else "cpu")


def _report(results: dict, folder: RunFolder) -> None:
    selected, tested = results["selected"], results["test"]
    who = ", ".join(map(str, results["subjects"]["test"]))
    lines = [
        f"{RECIPES[results['recogniser']].title}, {results['classes']} classes: {100 * tested['accuracy']:.2f} % of "
        f"{tested['sequences']} sequences of subjects {who}",
        f"chosen at step {selected['step']} by {100 * selected['accuracy']:.2f} % on {results['selected_on']}",
        f"results      {folder.results_file}",
        f"confusion    {folder.pictures / 'confusion.png'}",
        f"TensorBoard  tensorboard --logdir {folder.path}",
    ]
    sys.stdout.write("\n".join(lines) + "\n")
