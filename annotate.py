"""New poses for existing depth data sets, written beside them. `python annotate.py --help` lists the options.

python annotate.py nyu|icvl|msra|shrec|dhg|folder --root DIR [--out DIR] [--refine N] [--one-shape] [--processes N]

Nothing in DIR is changed. The same command goes on where an earlier one was stopped.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, get_args

from annotating.choices import AnnotatedName, Choices
from util.cli import guess, parse_settings, run_entry
from util.errors import UserError
from util.reading import readable

if TYPE_CHECKING:
    from annotating.annotations import Annotations
    from annotating.place import Place
    from annotating.source import Source


def main(words: Sequence[str]) -> int:
    """Annotate what the command line names, and say how it compares with the labels that are there."""
    choices = _choices(list(words))
    root = choices.check()
    from annotating.place import Place

    place = Place(root, choices.out)
    try:
        _annotate(choices, place)
    except KeyboardInterrupt:
        sys.stderr.write(f"Stopped; the same command goes on with what is in {place.shards}.\n")
        return 130
    return 0


def _choices(words: list[str]) -> Choices:
    """The settings of a command line, whose first word is a data set.

    Raises:
        UserError: it is none, or an option is unknown or of the wrong type.
    """
    known = get_args(AnnotatedName)
    if not words or (words[0].startswith("-") and not {"-h", "--help"} & set(words)):
        raise UserError(f"Name a data set first ({', '.join(known)}), then its --root: see annotate.py --help.")
    if words[0] not in known and not words[0].startswith("-"):
        close = guess(words[0], known)
        raise UserError(f"There is no data set '{readable(words[0])}'{close}: choose {', '.join(known)}.")
    default = Choices(next((name for name in known if name == words[0]), known[0]))
    return parse_settings(Choices, default, words, "annotate.py", (__doc__ or "").strip())


def _annotate(choices: Choices, place: "Place") -> None:
    from annotating.formats.catalogue import format_of
    from annotating.one_shape import OneShape, subject_shapes
    from annotating.run import annotate
    from config import Experiment
    from predicting.estimator import make_engine
    from render.hand_layer import HandLayer
    from render.hand_model import load_hand_model
    from training.setup import make_fabric
    from util.processes import first_only, is_first, wait

    form = format_of(choices)
    sources = [source.first(choices.frames) for source in form.open(choices)]
    _check_animation(choices, sources)
    make_fabric(replace(Experiment(), device=choices.device, processes=choices.processes))
    if is_first():
        place.shards.mkdir(parents=True, exist_ok=True)
    wait()
    engine = OneShape(
        make_engine("torch", choices.weights, choices.hand, choices.device), HandLayer(load_hand_model(choices.hand))
    )
    found = [annotate(source, choices, place, engine) for source in sources]
    if choices.one_shape:
        shapes = subject_shapes(sources, found)
        found = [annotate(source, choices, place, engine, shapes) for source in sources]
    for source, own in zip(sources, found, strict=True):
        first_only(lambda source=source, own=own: form.write(source, own, place))
    _write_more(choices, place, sources, found)
    if is_first():
        _tell(choices, place, sources, found)


def _check_animation(choices: Choices, sources: "Sequence[Source]") -> None:
    """Hold --animate against the recordings that there are.

    Raises:
        UserError: none matches, or one has no frame of those asked for.
    """
    if choices.animate is None:
        return
    lengths = {name: len(rows) for source in sources for name, rows in source.rows_of().items()}
    chosen = {name: length for name, length in lengths.items() if choices.animates(name)}
    if not chosen:
        raise UserError(f"--animate {choices.animate} matches no recording: choose such as {next(iter(lengths))}.")
    first = choices.animate_frames[0] if choices.animate_frames else 0
    if short := [name for name, length in chosen.items() if length <= first]:
        raise UserError(
            f"--animate-frames begins at {first} and {short[0]} has {chosen[short[0]]} frames: begin earlier."
        )


def _write_more(choices: Choices, place: "Place", sources: "Sequence[Source]", found: "Sequence[Annotations]") -> None:
    """What does not depend on the format."""
    from annotating.animation import write_animation
    from annotating.output import animation_name, link_images, write_frames, write_meshes
    from util.processes import first_only, wait

    def pictures_and_tables(source: "Source", own: "Annotations") -> None:
        write_frames(source, own, place)
        if choices.link_images:
            link_images(source, place)
        for sequence, rows in source.rows_of().items():
            if choices.animates(sequence):
                path = place.path(animation_name(source, sequence))
                write_animation(path, source, own, rows, choices.hand, choices.animate_frames, choices.rate)

    for source, own in zip(sources, found, strict=True):
        first_only(lambda source=source, own=own: pictures_and_tables(source, own))
        if choices.meshes:
            write_meshes(source, own, place, choices.meshes, choices.hand)
    wait()


def _tell(choices: Choices, place: "Place", sources: "Sequence[Source]", found: "Sequence[Annotations]") -> None:
    """Counts, notices and the comparison, on stdout and in summary.json and comparison.json."""
    from annotating.compare import compare, comparison_table
    from annotating.output import counts, summary
    from dataloader.listing import Listing
    from util.files import write_json
    from util.settings import to_plain

    results, parts = {}, {}
    for source, own in zip(sources, found, strict=True):
        told = ", ".join(f"{number:,} {what}" for what, number in counts(own).items())
        sys.stdout.write(f"{source.name}: {len(source):,} frames: {told}.\n")
        if isinstance(source.frames, Listing):
            sys.stdout.writelines(f"{notice}\n" for notice in source.frames.notices)
        if (result := compare(source, own)) is not None:
            results[source.name] = result
        parts[source.name] = summary(source, own)
    write_json(place.path("summary.json"), {"settings": to_plain(choices), "parts": parts})
    if results:
        write_json(place.path("comparison.json"), results)
        sys.stdout.write(f"\n{comparison_table(results)}\n\n")
    sys.stdout.write(f"{place.out}\n")


if __name__ == "__main__":
    sys.exit(run_entry(main))
