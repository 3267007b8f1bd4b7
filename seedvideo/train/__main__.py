"""The recipe of the embedded model, as commands: ``python -m seedvideo.train --help``.

views       photos to cached outputs of the stem's lower half
vocabulary  captions to tokenizer.json
fit         both to a model in training; stop it whenever, start it again to go on
score       BLEU-4 and CIDEr-D of the model in training, on dev or test
export      the averaged weights to a checkpoint that seedvideo loads
"""

import json
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer

from seedvideo.model.seedvl import SeedVL, SeedVLConfig, initialise
from seedvideo.model.stem import ConvStem
from seedvideo.model.tokenizer import Tokenizer
from seedvideo.model.vit import ConvPatches
from seedvideo.sampler.stamps import time_text
from seedvideo.tasks.caption import CAPTION_PROMPT
from seedvideo.train.fit import Recipe, Run
from seedvideo.train.photos import Split, read_flickr8k, read_object_names, read_pixels
from seedvideo.train.samples import THEN, Sampler, clean, name_answer
from seedvideo.train.score import caption_stills, score_captions
from seedvideo.train.stem_init import load_pretrained_stem
from seedvideo.train.views import build_view, load_views
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
    dropout: float = 0.1,
    device: str = "cpu",
    save_every: int = 250,
    threads: ThreadsOption = 1,
) -> None:
    """Train, or go on with a training that was stopped."""
    torch.set_num_threads(threads)
    tokenizer = Tokenizer.from_file(run / "tokenizer.json")
    photos = read_flickr8k(data, "train") + read_object_names(data)
    recipe = Recipe(steps=steps, decay_steps=decay_steps, stem_from_step=stem_from_step)
    model = new_model(tokenizer.size, dropout=dropout, seed=recipe.seed)
    training = Run(model, recipe, run, torch.device(device))
    while training.step < steps:
        # Views may have been added since the last time.
        cached_views = load_views(cache / "train")
        sampler = Sampler(photos, cached_views, seed=recipe.seed)
        until = training.step + save_every
        with (run / "log.jsonl").open("a", encoding="utf-8") as log:
            for line in training.fit(sampler, cached_views, tokenizer, until=until):
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
    beams: int = 3,
    show: Annotated[int, typer.Option(help="Captions to print.")] = 0,
    threads: ThreadsOption = 1,
) -> None:
    """Score the averaged weights of a model in training on held-out photos."""
    torch.set_num_threads(threads)
    tokenizer = Tokenizer.from_file(run / "tokenizer.json")
    training = Run(
        new_model(tokenizer.size, dropout=0.0, seed=1),
        Recipe(steps=1, decay_steps=1),
        run,
        torch.device("cpu"),
    )
    model, stem = training.model, stem_of(training.model)
    model.load_state_dict(training.averaged())
    model.eval()
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
