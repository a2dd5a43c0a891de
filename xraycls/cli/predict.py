"""`xraycls predict`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xraycls.cli.options import (
    BatchOption,
    DaliOption,
    DeviceOption,
    JsonOption,
    KeepMasksOption,
    LoaderOption,
    ModelArgument,
    PathsArgument,
    PrecisionOption,
    PrevalenceOption,
    RuntimeOption,
    ThreadsOption,
    TTAOption,
    chosen_loader,
)

if TYPE_CHECKING:
    from xraycls.types import Prediction

UNLIKE = "unlike training data"


def predict(
    run: ModelArgument,
    paths: PathsArgument,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for predictions.csv and predictions.json.")
    ] = Path(),
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    batch_size: BatchOption = 64,
    loader: LoaderOption = "auto",
    dali: DaliOption = False,
    threads: ThreadsOption = None,
    runtime: RuntimeOption = "auto",
    keep_masks: KeepMasksOption = False,
    tta: TTAOption = None,
    no_ood_check: Annotated[
        bool, typer.Option("--no-ood-check", help="Don't mark pictures that are unlike the training data.")
    ] = False,
    prevalence: PrevalenceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Predict images and folders; a bad file becomes a row with its error, and the exit code is 1 at the end.

    Further runs before the paths are members of an ensemble: the mean of all their probabilities is given.
    """
    from xraycls.data.files import require_writable
    from xraycls.data.pictures import list_images
    from xraycls.errors import shown
    from xraycls.inference.choose import leading_models, open_classifiers
    from xraycls.progress import counting
    from xraycls.workflows.predict import (
        adjustments_said,
        predict_with,
        prediction_rows,
        require_replaceable,
        write_predictions,
    )
    from xraycls.workflows.prevalence import with_prevalence

    require_writable(output)
    replaced = require_replaceable(output)
    others = leading_models(paths)
    pictures = list_images(paths[len(others) :], keep_masks=keep_masks)
    opened = open_classifiers(
        [run, *others], runtime=runtime, device=device, precision=precision, pictures=len(pictures)
    )
    trained = with_prevalence(opened, prevalence)
    classes = trained.classes
    with counting("predicting") as progress:
        predictions = predict_with(
            trained,
            pictures,
            batch_size=batch_size,
            precision=precision,
            loader=chosen_loader(loader, dali),
            threads=threads,
            tta=tta,
            ood_check=not no_ood_check,
            progress=progress,
        )
    files = write_predictions(predictions, classes, output, adjustments_said(trained))
    failed = [p for p in predictions if p.error is not None]
    if as_json:
        print(json.dumps(prediction_rows(predictions, classes, adjustments_said(trained))))
    else:
        for p in predictions[:20]:
            if p.error is not None:
                print(shown(p.error))
            else:
                decided = f"{p.decided(classes)}{trained.at_threshold()}"
                far = f" ({UNLIKE})" if p.unlike else ""
                print(shown(f"{p.name}: {decided}: {_shown(p, classes)}{far}"))
        if len(predictions) > 20:
            print(f"… and {len(predictions) - 20} more in {files[0]}")
        print(f"Wrote {files[0]} and {files[1]}" + (", in place of earlier ones." if replaced else "."))
    if unlike := sum(bool(p.unlike) for p in predictions):
        typer.echo(f"{unlike} of {len(predictions)} images are {UNLIKE}: their predictions mean little.", err=True)
    if failed:
        typer.echo(f"{len(failed)} of {len(predictions)} files could not be read.", err=True)
        raise typer.Exit(1)


def _shown(prediction: Prediction, classes: tuple[str, ...]) -> str:
    spread = prediction.uncertainty or (None,) * len(classes)
    named = zip(classes, prediction.probabilities, spread, strict=True)
    return ", ".join(f"{name} {p:.3f}" + ("" if s is None else f" ± {s:.3f}") for name, p, s in named)
