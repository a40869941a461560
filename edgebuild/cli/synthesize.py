"""``edgebuild synthesize``: inputs for a model that has come without data."""

from __future__ import annotations

from pathlib import Path

import click

from edgebuild.cli.build import steps as shown_steps
from edgebuild.cli.console import line, print_json, prose
from edgebuild.cli.options import COUNT, RANGE, json_option


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--out",
    "-o",
    type=click.Path(path_type=Path),
    default="synthetic.npz",
    help="File to write [synthetic.npz].",
)
@click.option("--samples", type=COUNT, default="512", help="Number of inputs to make [512].")
@click.option(
    "--range", "limits", type=RANGE, metavar="LOW..HIGH", help="Range of input values, e.g. 0..255."
)
@click.option("--steps", type=COUNT, default="80", help="Gradient descent steps [80].")
@click.option("--seed", type=COUNT, default="0", help="Random seed [0].")
@click.option(
    "--trust-model", is_flag=True, help="Allow the model file to run code (Lambda layers)."
)
@json_option
def command(
    model: Path,
    out: Path,
    samples: int,
    limits: tuple[float, float] | None,
    steps: int,
    seed: int,
    trust_model: bool,
    as_json: bool,
) -> None:
    """Make inputs for a Keras MODEL that comes without data, from its batch normalization.

    The inputs resemble the training data as far as the model's statistics remember it: enough to
    calibrate, to compress, and to compare outputs with the original's. Real inputs are better;
    neither kind needs labels.
    """
    from edgebuild.pipeline.synthesis import make_inputs

    with shown_steps(f"inputs for {model.name}") as progress:
        made = make_inputs(
            *(model, out),
            samples=samples,
            steps=steps,
            limits=limits,
            seed=seed,
            trust=trust_model,
            progress=progress,
        )
    if as_json:
        print_json(made.to_json())
        return
    line(f"wrote {made.file}: {made.samples:,} samples")
    first, last = made.off
    prose(
        f"batch normalization statistics compared with training: {first:.2f} deviations off in "
        f"noise, {last:.2f} in these"
    )
    if last >= 1.0:
        prose("far off: the model may expect inputs of another size; use real inputs")
    if made.sure is not None:
        prose(f"the model is {made.sure:.0%} sure of their classes")
    line(f"next: edgebuild build {model} --data {made.file} --target cortex-m4")
