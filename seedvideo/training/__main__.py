"""The recipe of the embedded model, as commands: ``python -m seedvideo.training --help``.

In their order: ``vocabulary`` turns captions into tokenizer.json; ``fit`` trains, may be stopped
whenever and goes on when started again; ``score`` gives BLEU and CIDEr-D of a model in training;
``export`` writes its averaged weights as a checkpoint that seedvideo loads; ``measure`` makes the
numbers of the model card. ``answers`` holds the recipe of the branch that answers questions.
"""

import json
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Annotated

import torch
import typer

from seedvideo.model import DEFAULT_MODEL, WEIGHTS, load
from seedvideo.model.checkpoint import load_checkpoint, save_checkpoint
from seedvideo.model.metadata import Tokenizer
from seedvideo.model.seedvl import SeedVL, SeedVLConfig, initialise
from seedvideo.model.vision_encoder import ConvPatches, ConvStem
from seedvideo.sampler.geometry import timestamp_text
from seedvideo.tasks.prompts import CAPTION_PROMPT, THEN
from seedvideo.training.answer_cli import app as answers_app
from seedvideo.training.data import (
    NAME_PROMPT,
    PLAIN_SIZE,
    Pictures,
    Sampler,
    Split,
    clean,
    make_views,
    read_flickr8k,
    read_object_names,
    read_pixels,
)
from seedvideo.training.export import (
    calibrate,
    learn_familiarity,
    learn_vocabulary,
    load_pretrained_stem,
    mean_features,
    nano_config,
)
from seedvideo.training.metrics import caption_stills, measure, score_captions
from seedvideo.training.trainer import Recipe, Run, Team, read_averaged

_VIEWS = 40
"""Each photo is mirrored in half of them; sizes come in turn."""

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)
app.add_typer(answers_app, name="answers")

DataOption = Annotated[Path, typer.Option(help="Photos and captions; layout in train/photos.py.")]
RunOption = Annotated[Path, typer.Option(help="Folder of the model in training.")]
DeviceOption = Annotated[str, typer.Option(help="cpu or cuda.")]
ThreadsOption = Annotated[int, typer.Option(help="Threads of torch.")]


@app.command()
def vocabulary(data: DataOption, run: RunOption, size: int = 3_600) -> None:
    """Learn the vocabulary from the training captions."""
    texts = [clean(text) for photo in read_flickr8k(data, "train") for text in photo.captions]
    # Words of names, prompts and times appear seldom, or in text that is not a caption.
    texts += 3 * [clean(photo.captions[0]) for photo in read_object_names(data)]
    texts += 200 * [timestamp_text(Fraction(25, 2)), CAPTION_PROMPT, NAME_PROMPT, f"a{THEN}a"]
    run.mkdir(parents=True, exist_ok=True)
    learn_vocabulary(texts, run / "tokenizer.json", size=size)


@app.command()
def fit(
    data: DataOption,
    run: RunOption,
    steps: Annotated[int, typer.Option(help="Last step of the recipe.")] = 6_000,
    decay_steps: Annotated[int, typer.Option(help="Steps in which the rate falls to 0.")] = 1_500,
    stills: Annotated[int, typer.Option(help="Photos a step.")] = 24,
    learning_rate: float = 1e-3,
    stem_learning_rate: float = 1e-4,
    stem_from_step: Annotated[int, typer.Option(help="Where the stem joins.")] = 1_500,
    frozen_blocks: Annotated[int, typer.Option(help="First stem blocks that never join.")] = 15,
    dropout: float = 0.1,
    seed: int = 1,
    start: Annotated[
        str | None, typer.Option(help="Model, checkpoint or training whose weights to start from.")
    ] = None,
    teacher: Annotated[
        list[Path] | None, typer.Option(help="Folder of a finished training to learn from.")
    ] = None,
    device: DeviceOption = "cpu",
    save_every: int = 250,
    log_every: int = 10,
    threads: ThreadsOption = 1,
) -> None:
    """Train, or go on with a training that was stopped.

    Several processes train together under
    ``torchrun --nproc-per-node N -m seedvideo.training fit``.
    """
    torch.set_num_threads(threads)
    if start is not None:
        adopt_vocabulary(start, run)
    tokenizer = Tokenizer.from_file(run / "tokenizer.json")
    photos = read_flickr8k(data, "train") + read_object_names(data)
    recipe = Recipe(
        steps=steps,
        decay_steps=decay_steps,
        stills=stills,
        learning_rate=learning_rate,
        stem_learning_rate=stem_learning_rate,
        stem_from_step=stem_from_step,
        frozen_blocks=frozen_blocks,
        seed=seed,
    )
    model = new_model(tokenizer.size, dropout=dropout, seed=seed)
    if start is not None:
        model.load_state_dict(start_weights(start))
    place = torch.device(device)
    teachers = [averaged_model(folder, place)[0] for folder in teacher or ()]
    training = Run(model, recipe, run, place, Team.join(place), teachers)
    pictures = Pictures(read_pixels(data, photos), place)
    views = make_views(len(photos), count=_VIEWS, seed=seed)
    sampler = Sampler(photos, views, seed=seed)
    while training.step < steps:
        lines = training.fit(
            sampler,
            pictures,
            views,
            tokenizer.encode,
            until=training.step + save_every,
            log_every=log_every,
        )
        with (run / f"log-{training.team.rank}.jsonl").open("a", encoding="utf-8") as log:
            for line in lines:
                log.write(json.dumps(line) + "\n")
                log.flush()
        training.save()


@app.command()
def score(
    data: DataOption,
    run: RunOption,
    split: Annotated[Split, typer.Option(help="dev or test.")] = "dev",
    count: Annotated[int, typer.Option(help="Photos, from the first.")] = 1_000,
    beams: int = 32,
    show: Annotated[int, typer.Option(help="Captions to print.")] = 0,
    device: DeviceOption = "cpu",
    threads: ThreadsOption = 1,
) -> None:
    """Score the averaged weights of a model in training on held-out photos."""
    torch.set_num_threads(threads)
    place = torch.device(device)
    model, tokenizer, step = averaged_model(run, place)
    photos = read_flickr8k(data, split)[:count]
    pictures = Pictures(read_pixels(data, photos), place)
    captions = caption_stills(model, tokenizer, pictures, beams=beams)
    for caption in captions[:show]:
        typer.echo(caption, err=True)
    scores = score_captions(captions, photos)
    typer.echo(json.dumps({"step": step, "split": split, **asdict(scores)}))


@app.command()
def export(
    data: DataOption,
    run: RunOption,
    out: Annotated[Path, typer.Option(help="Checkpoint folder.")] = WEIGHTS / DEFAULT_MODEL,
    device: DeviceOption = "cpu",
    threads: ThreadsOption = 1,
) -> None:
    """Write the averaged weights as a checkpoint, with what its training photos looked like."""
    torch.set_num_threads(threads)
    place = torch.device(device)
    model, tokenizer, step = averaged_model(run, place)
    learned, known, strange = (
        mean_features(stem_of(model), Pictures(read_pixels(data, photos), place))
        for photos in (
            read_flickr8k(data, "train"),
            read_flickr8k(data, "dev"),
            read_object_names(data),
        )
    )
    familiarity = learn_familiarity(learned)
    calibration = calibrate(familiarity, known, strange)
    typer.echo(json.dumps({"step": step, **asdict(calibration)}))
    sizes = SeedVLConfig.nano(vocabulary=tokenizer.size)
    digest = save_checkpoint(
        out,
        nano_config(sizes, threshold=calibration.threshold),
        {name: value.cpu() for name, value in model.state_dict().items()},
        (run / "tokenizer.json").read_text(encoding="utf-8"),
        familiarity=familiarity.to_tensors(),
    )
    typer.echo(f"{out}: {digest}", err=True)


@app.command("measure")
def measure_command(
    data: DataOption,
    model: Annotated[str, typer.Option(help="Name or checkpoint folder.")] = DEFAULT_MODEL,
    split: Annotated[Split, typer.Option(help="dev or test.")] = "test",
    count: Annotated[int, typer.Option(help="Photos, from the first.")] = 1_000,
    size: Annotated[tuple[int, int], typer.Option(help="Height and width in pixels.")] = PLAIN_SIZE,
) -> None:
    """Measure a checkpoint on held-out photos and slideshows, for the model card."""
    photos = read_flickr8k(data, split)[:count]
    values = measure(
        load(model),
        photos,
        read_pixels(data, photos),
        size,
        progress=lambda line: typer.echo(line, err=True),
    )
    typer.echo(json.dumps({"split": split, **values}, indent=2))


def checkpoint_folder(name_or_folder: str) -> Path:
    """Where the weights of a shipped model, or of a checkpoint folder, lie."""
    shipped = WEIGHTS / name_or_folder
    return shipped if shipped.is_dir() else Path(name_or_folder)


def start_weights(start: str) -> dict[str, torch.Tensor]:
    """Weights of a shipped model or a checkpoint folder, or the averaged ones of a training."""
    folder = checkpoint_folder(start)
    if (folder / "state.safetensors").exists():
        return read_averaged(folder, torch.device("cpu"))[0]
    return load_checkpoint(folder).model.state_dict()


def adopt_vocabulary(start: str, run: Path) -> None:
    """A training that starts from a checkpoint speaks its words."""
    run.mkdir(parents=True, exist_ok=True)
    text = (checkpoint_folder(start) / "tokenizer.json").read_text(encoding="utf-8")
    (run / "tokenizer.json").write_text(text, encoding="utf-8")


def averaged_model(run: Path, device: torch.device) -> tuple[SeedVL, Tokenizer, int]:
    """The averaged weights of a training as a model for use, its vocabulary, and its step."""
    tokenizer = Tokenizer.from_file(run / "tokenizer.json")
    model = SeedVL(SeedVLConfig.nano(vocabulary=tokenizer.size)).to(device)
    weights, step = read_averaged(run, device)
    model.load_state_dict(weights)
    model.eval().requires_grad_(False)
    return model, tokenizer, step


def new_model(vocabulary_size: int, *, dropout: float, seed: int) -> SeedVL:
    """A nano model with the published stem and everything else fresh."""
    model = SeedVL(SeedVLConfig.nano(vocabulary=vocabulary_size, dropout=dropout))
    initialise(model, seed=seed)
    stem_of(model).load_state_dict(load_pretrained_stem().state_dict())
    return model


def stem_of(model: SeedVL) -> ConvStem:
    """The model's convolutional stem.

    Raises:
        TypeError: if it has none.
    """
    if not isinstance(model.vit.patches, ConvPatches):
        raise TypeError("the model has no convolutional stem")
    return model.vit.patches.stem


if __name__ == "__main__":
    app()
