"""The recipe of the embedded model, as commands: ``python -m seedvideo.train --help``.

In their order: ``views`` turns photos into cached outputs of the stem's lower half; ``vocabulary``
turns captions into tokenizer.json; ``fit`` trains, may be stopped whenever and goes on when started
again; ``score`` gives BLEU and CIDEr-D of a model in training; ``export`` writes its averaged
weights as a checkpoint that seedvideo loads; ``measure`` makes the numbers of the model card.
"""

import json
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer

from seedvideo.model import DEFAULT_MODEL, WEIGHTS, load
from seedvideo.model.checkpoint import load_checkpoint, save_checkpoint
from seedvideo.model.seedvl import SeedVL, SeedVLConfig, initialise
from seedvideo.model.stem import ConvStem
from seedvideo.model.tokenizer import Tokenizer
from seedvideo.model.vit import ConvPatches
from seedvideo.sampler.stamps import time_text
from seedvideo.tasks.caption import CAPTION_PROMPT
from seedvideo.train.export import calibrate, learn_familiarity, mean_features, nano_config
from seedvideo.train.fit import Recipe, Run
from seedvideo.train.measure import measure
from seedvideo.train.photos import Split, read_flickr8k, read_object_names, read_pixels
from seedvideo.train.samples import THEN, Sampler, clean, name_answer
from seedvideo.train.score import caption_stills, score_captions
from seedvideo.train.stem_init import load_pretrained_stem
from seedvideo.train.team import Team
from seedvideo.train.views import PLAIN_SIZE, build_view, load_views
from seedvideo.train.vocabulary import learn_vocabulary

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)

DataOption = Annotated[Path, typer.Option(help="Photos and captions; layout in train/photos.py.")]
CacheOption = Annotated[Path, typer.Option(help="Folder of cached views.")]
RunOption = Annotated[Path, typer.Option(help="Folder of the model in training.")]
ThreadsOption = Annotated[int, typer.Option(help="Threads of torch.")]


@app.command()
def views(
    data: DataOption,
    cache: CacheOption,
    count: Annotated[int, typer.Option(help="Views of each photo, the plain one included.")] = 24,
    seed: int = 1,
    threads: ThreadsOption = 1,
) -> None:
    """Make cached views of the training photos, and plain ones of dev and test."""
    torch.set_num_threads(threads)
    # bfloat16 is twice as fast and its error is far below that of the augmentation.
    stem = load_pretrained_stem().eval().to(torch.bfloat16)
    for split in ("dev", "test"):
        held_out = read_pixels(data, read_flickr8k(data, split))
        build_view(stem, held_out, cache / split, number=0, seed=seed)
    pictures = read_pixels(data, read_flickr8k(data, "train") + read_object_names(data))
    for number in range(count):
        build_view(stem, pictures, cache / "train", number=number, seed=seed)
        typer.echo(f"view {number + 1} of {count}", err=True)


@app.command()
def vocabulary(data: DataOption, run: RunOption, size: int = 3_600) -> None:
    """Learn the vocabulary from the training captions."""
    texts = [clean(text) for photo in read_flickr8k(data, "train") for text in photo.captions]
    # Words of names, prompts and times appear seldom, or in text that is not a caption.
    texts += 3 * [name_answer(photo.captions[0]) for photo in read_object_names(data)]
    texts += 200 * [time_text(Fraction(25, 2)), CAPTION_PROMPT, f"a{THEN}a"]
    run.mkdir(parents=True, exist_ok=True)
    learn_vocabulary(texts, run / "tokenizer.json", size=size)


@app.command()
def fit(
    data: DataOption,
    cache: CacheOption,
    run: RunOption,
    steps: Annotated[int, typer.Option(help="Last step of the recipe.")] = 6_000,
    decay_steps: Annotated[int, typer.Option(help="Steps in which the rate falls to 0.")] = 1_500,
    stem_from_step: Annotated[int, typer.Option(help="Where the stem joins.")] = 1_500,
    start: Annotated[
        str | None, typer.Option(help="Model or checkpoint folder whose weights to start from.")
    ] = None,
    dropout: float = 0.1,
    device: str = "cpu",
    save_every: int = 250,
    threads: ThreadsOption = 1,
) -> None:
    """Train, or go on with a training that was stopped.

    Several processes train together under ``torchrun --nproc-per-node N -m seedvideo.train fit``.
    """
    torch.set_num_threads(threads)
    if start is not None:
        adopt_vocabulary(start, run)
    tokenizer = Tokenizer.from_file(run / "tokenizer.json")
    photos = read_flickr8k(data, "train") + read_object_names(data)
    recipe = Recipe(steps=steps, decay_steps=decay_steps, stem_from_step=stem_from_step)
    model = new_model(tokenizer.size, dropout=dropout, seed=recipe.seed)
    if start is not None:
        model.load_state_dict(load_checkpoint(checkpoint_folder(start)).model.state_dict())
    team = Team.join(torch.device(device))
    training = Run(model, recipe, run, torch.device(device), team)
    while training.step < steps:
        # Views may have been added since the last time.
        cached_views = load_views(cache / "train")
        sampler = Sampler(photos, cached_views, seed=recipe.seed)
        until = training.step + save_every
        with (run / f"log-{team.rank}.jsonl").open("a", encoding="utf-8") as log:
            for line in training.fit(sampler, cached_views, tokenizer.encode, until=until):
                log.write(json.dumps(line) + "\n")
                log.flush()
        training.save()


@app.command()
def score(
    data: DataOption,
    cache: CacheOption,
    run: RunOption,
    split: Annotated[Split, typer.Option(help="dev or test.")] = "dev",
    count: Annotated[int, typer.Option(help="Photos, from the first.")] = 1_000,
    beams: int = 5,
    show: Annotated[int, typer.Option(help="Captions to print.")] = 0,
    threads: ThreadsOption = 1,
) -> None:
    """Score the averaged weights of a model in training on held-out photos."""
    torch.set_num_threads(threads)
    training, tokenizer = averaged_model(run)
    model, stem = training.model, stem_of(training.model)
    photos = read_flickr8k(data, split)[:count]
    (view,) = load_views(cache / split)

    def cells(first: int, last: int) -> torch.Tensor:
        lower = torch.from_numpy(view.features[first:last].astype(np.float32))
        return stem.upper(lower)

    captions = caption_stills(model, tokenizer, cells, len(photos), beams=beams)
    for caption in captions[:show]:
        typer.echo(caption, err=True)
    scores = score_captions(captions, photos)
    typer.echo(json.dumps({"step": training.step, "split": split, **asdict(scores)}))


@app.command()
def export(
    data: DataOption,
    cache: CacheOption,
    run: RunOption,
    out: Annotated[Path, typer.Option(help="Checkpoint folder.")] = WEIGHTS / DEFAULT_MODEL,
    threads: ThreadsOption = 1,
) -> None:
    """Write the averaged weights as a checkpoint, with what its training photos looked like."""
    torch.set_num_threads(threads)
    training, tokenizer = averaged_model(run)
    stem = stem_of(training.model)
    plain_views = {split: load_views(cache / split)[0] for split in ("train", "dev")}
    learned = len(read_flickr8k(data, "train"))
    features = mean_features(stem, plain_views["train"])
    familiarity = learn_familiarity(features[:learned])
    inside = mean_features(stem, plain_views["dev"])
    calibration = calibrate(familiarity, inside, features[learned:])
    typer.echo(json.dumps({"step": training.step, **asdict(calibration)}))
    sizes = SeedVLConfig.nano(vocabulary=tokenizer.size)
    digest = save_checkpoint(
        out,
        nano_config(sizes, threshold=calibration.threshold),
        training.model.state_dict(),
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


def adopt_vocabulary(start: str, run: Path) -> None:
    """A training that starts from a checkpoint speaks its words."""
    run.mkdir(parents=True, exist_ok=True)
    text = (checkpoint_folder(start) / "tokenizer.json").read_text(encoding="utf-8")
    (run / "tokenizer.json").write_text(text, encoding="utf-8")


def averaged_model(run: Path) -> tuple[Run, Tokenizer]:
    """The state of a training, its model set to the averaged weights, for use."""
    tokenizer = Tokenizer.from_file(run / "tokenizer.json")
    training = Run(
        new_model(tokenizer.size, dropout=0.0, seed=1),
        Recipe(steps=1, decay_steps=1),
        run,
        torch.device("cpu"),
    )
    training.model.load_state_dict(training.averaged())
    training.model.eval()
    return training, tokenizer


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
