"""An experiment to its phase, and what it measured to results.json and to the terminal."""

import sys
from dataclasses import replace
from pathlib import Path

from config import Experiment, OptimConfig
from training.evaluate import score_and_show, table, test
from training.fitted import learn_fitted
from training.labelled import learn_labelled
from training.loop import Loop
from training.onlooker import open_folder
from training.prefetch import worker_deaths_told
from training.pretrain import held_out_final, pretrain
from training.selfsupervise import self_supervise
from training.setup import make_fabric, make_network, make_rendered
from training.sources import load_frames
from training.transfer import transfer
from training.translation import Translation, transfer_generator
from util.errors import UserError
from util.files import read_json
from util.processes import from_first, is_first, wait
from util.run_folder import RunFolder
from util.settings import saved_experiment


def run(experiment: Experiment, run_dir: Path, resume: bool = False, load_model: Path | None = None) -> dict:
    """Run the phase, in every process that `make_fabric` starts or finds; returns what went into results.json.

    Raises UserError for bad input: missing data or weights, a run folder in use, a loss that is not finite.
    """
    if resume or experiment.phase != "transfer":  # there, weights to start from are a generator's, not the experiment's
        load_model = load_model or experiment.start
    experiment = replace(experiment, start=None if load_model is None else load_model.absolute())  # --resume needs it
    if experiment.phase == "test" and load_model is None:
        raise UserError("The phase test needs weights: add --load-model FILE.")
    transfer_generator(experiment)  # a mistake in what it names is told before frames are read
    make_fabric(experiment)  # what starts other processes starts them here
    run_dir = from_first(run_dir)
    folder = open_folder(run_dir, experiment, resume)
    with worker_deaths_told(run_dir):
        if experiment.phase == "pretrain":
            results = pretrain(experiment, folder, resume, load_model)
        elif experiment.phase == "transfer":
            results = transfer(experiment, folder, resume, load_model)
        elif experiment.phase == "train":
            results = train(experiment, folder, resume, load_model)
        else:
            results = test(experiment, folder, load_model)
    folder.write_results(results)
    if is_first():
        _report(results, folder)
    wait()
    return results


def train(experiment: Experiment, folder: RunFolder, resume: bool, load_model: Path | None) -> dict:
    """Self-supervision, or full supervision, between two tests on the same frames.

    Pre-training comes first where there are no weights.
    """
    held_out = load_frames(experiment, "test")
    frames = load_frames(experiment, "train")
    if load_model is None and experiment.first is not None:
        load_model = _pretrained(experiment, experiment.first, folder)
    fabric = make_fabric(experiment)
    network, layer = make_network(experiment, fabric, load_model)
    rendered = make_rendered(experiment)
    kept = from_first(read_json(folder.results_file) if resume and folder.results_file.is_file() else {})
    before = kept.get("before") or score_and_show(network, held_out, layer, folder, "before", experiment.pictured)
    if "before" not in kept:
        folder.write_results({"before": before})
    network.eval()  # as the scores leave it, now or before a resume, until a check has looked at it
    loop = Loop(experiment, fabric, network, folder, resume)
    if experiment.source == "labelled":
        learn_labelled(experiment, loop, frames)
    elif experiment.source == "fitted":
        learn_fitted(experiment, loop, layer, rendered, frames)
    else:
        self_supervise(experiment, loop, layer, rendered, frames)
    with loop.averaged_weights():
        after = score_and_show(network, held_out, layer, folder, "after", experiment.pictured)
    return {
        "before": before,
        "after": after,
        "held_out_rendered_mm": held_out_final(
            loop, rendered, experiment.optim.final_frames, Translation.of(experiment, fabric)
        ),
        "dropped": {"train": dict(frames.dropped), "test": dict(held_out.dropped)},
        "seconds": loop.seconds,
    }


def _pretrained(experiment: Experiment, optim: OptimConfig, folder: RunFolder) -> Path:
    """Pre-train in a folder of its own inside the run's, going on with what is there, and return the weights."""
    path = folder.path / "pretrain"
    first = replace(experiment, phase="pretrain", optim=optim)
    resume = from_first((path / "config.json").is_file())
    inner = RunFolder(path)
    if from_first(resume and inner.results_file.is_file() and saved_experiment(path) == first):
        return inner.last_weights  # it was finished before a resume
    inner = open_folder(path, first, resume)
    inner.write_results(pretrain(first, inner, resume, None))
    return inner.last_weights


def _report(results: dict, folder: RunFolder) -> None:
    scored = {when: results[when] for when in ("before", "after") if when in results}
    lines = [table(scored)] if scored else []
    if "held_out_rendered_mm" in results:
        errors = ", ".join(f"{name} {mm:.1f}" for name, mm in results["held_out_rendered_mm"].items())
        lines.append(f"held-out rendered hands, mean joint error in mm: {errors}")
    if "transfer" in results:
        measures = ", ".join(f"{name} {value:.3g}" for name, value in results["transfer"].items())
        lines.append(f"what translation changes of held-out rendered hands: {measures}")
    lines.append(f"results      {folder.results_file}")
    lines.append(f"pictures     {folder.pictures}")
    lines.append(f"TensorBoard  tensorboard --logdir {folder.path}")
    sys.stdout.write("\n".join(lines) + "\n")
