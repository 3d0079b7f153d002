"""The commands about synonyms: show them, check them, let a language model write them, draw those of a class."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pzsl_bench.base.errors import UserError
from pzsl_bench.cli.arguments import PROGRAM, Cache, Data, Download, option
from pzsl_bench.cli.progress import complain

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pzsl_bench.data.source import Source
    from pzsl_bench.encoding.encoder import Encoder
    from pzsl_bench.encoding.open_clip_model import LoadedEncoder
    from pzsl_bench.synonyms.space import Compactness
    from pzsl_bench.synonyms.words import Found

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="""Show, check, write and draw other words for classes.

    For each class the first of these that has it is used: DIR/synonyms/DATASET.json (--data DIR), the same name in the
    cache, the list that comes with the package, WordNet if nltk and its data are installed, and else the name alone.

    \b
    Examples:
      pzsl-bench synonyms show shapes
      pzsl-bench synonyms check shapes:odd
    """,
)

DatasetName = Annotated[str, typer.Argument(help="As grids name it: shapes, shapes:odd.")]
ENCODER_TEXT = "Its tokens and vectors are looked at [the dataset's own]."
EncoderName = Annotated[str | None, option("--encoder", metavar="NAME[:WEIGHTS]", text=ENCODER_TEXT)]
Rule = Annotated[str, option("--eps-rule", metavar="RULE", text="coverage, fixed, gap or quantile.")]
Eps = Annotated[float, option("--eps", metavar="X", text="The scale of the rule fixed.")]
Rho = Annotated[float, option("--rho", metavar="X", text="The share that the rule coverage keeps at least.")]
Quantile = Annotated[float, option("--quantile", metavar="X", text="The one of the rule quantile.")]
Metric = Annotated[str, option("--metric", metavar="NAME", text="chord, cosine or angle.")]


@app.command()
def show(
    dataset: DatasetName,
    name: Annotated[str | None, typer.Argument(metavar="[CLASS]", help="Only this class, with all details.")] = None,
    data: Data = None,
    cache: Cache = None,
) -> None:
    """Print the words of each class and where they come from.

    \b
    Examples:
      pzsl-bench synonyms show shapes
      pzsl-bench synonyms show shapes:odd "speckled magenta round"
    """
    from pzsl_bench.data.word_lists import FOLDER, file_names
    from pzsl_bench.encoding.cache import cache_root
    from pzsl_bench.synonyms.words import look_up

    source = _open(dataset, data)
    root = cache_root(cache)
    found = look_up(dataset, source.class_names, data, root)
    numbers = [_number(source, name)] if name is not None else range(len(source.class_names))
    for number in numbers:
        class_name, *others = found.synonyms.names[number]
        typer.echo(f"{class_name} ({found.synonyms.sources[number]}): {', '.join(others) or '-'}")
    if name is not None:
        entry = found.entries[number]
        clashes = [clash for clash in found.clashes if clash.left_out_of == class_name]
        for clash in clashes:
            typer.echo(f"  left out, as it also stands for {clash.also}: {clash.text}")
        facts = {
            "whole prompts": "yes, no template is used" if entry.as_prompt else "",
            "descriptors": ", ".join(entry.descriptors),
            "written by": entry.source,
        }
        for fact, text in facts.items():
            if text:
                typer.echo(f"  {fact}: {text}")
    places = [str(folder / FOLDER / file) for folder in (data, root) if folder for file in file_names(dataset)]
    typer.echo(f"\nread: {', '.join(found.files) or 'nothing'}")
    typer.echo(f"looked for: {', '.join(places)}")


@app.command()
def check(
    dataset: DatasetName,
    encoder: EncoderName = None,
    eps_rule: Rule = "coverage",
    eps: Eps = 0.5,
    rho: Rho = 0.8,
    quantile: Quantile = 0.5,
    metric: Metric = "chord",
    download: Download = False,
    data: Data = None,
    cache: Cache = None,
) -> None:
    """Check the words of every class.

    A table tells how many names each class has, where they come from, the scale eps at which they hang together, the
    share that is kept, and the names that fall out. Below it stand words that are left out because two classes share
    them, and repetitions. What has to be mended, such as a prompt longer than the encoder reads or a file in the wrong
    form, makes the exit code 2.

    \b
    Examples:
      pzsl-bench synonyms check shapes
      pzsl-bench synonyms check shapes:odd --eps-rule gap
      pzsl-bench synonyms check features:animals --data data --encoder ViT-B-32:openai
    """
    from pzsl_bench.encoding.cache import cache_root
    from pzsl_bench.encoding.encoder import NoEncoder
    from pzsl_bench.synonyms.report import as_table, errors, notes, report
    from pzsl_bench.synonyms.words import look_up

    compactness = _compactness(eps_rule, eps, rho, quantile, metric)
    source = _open(dataset, data)
    found = look_up(dataset, source.class_names, data, cache_root(cache))
    chosen_encoder = _encoder(dataset, encoder, cache)
    if isinstance(chosen_encoder, NoEncoder):
        complain("note: without an encoder nothing is said of tokens and spaces; --encoder NAME:WEIGHTS names one")
        classes = report(found, source)
    else:
        model = chosen_encoder.load(download=download)
        names = _vectors(source, dataset, chosen_encoder, model, found, cache)
        classes = report(found, source, model, names, compactness)
    typer.echo(as_table(classes))
    for line in notes(classes):
        typer.echo(f"note: {line}")
    if wrong := errors(classes):
        for line in wrong:
            complain(f"error: {line}")
        raise typer.Exit(2)


@app.command()
def generate(
    dataset: DatasetName,
    base_url: Annotated[str, option("--base-url", metavar="URL", text="The address up to and with /v1.")],
    model: Annotated[str, option("--model", metavar="NAME", text="As the server names it.")],
    api_key_env: Annotated[
        str | None,
        option("--api-key-env", metavar="NAME", text="The environment variable with the key; it is never written."),
    ] = None,
    most: Annotated[int, option("--most", metavar="N", text="Names of a class.", min=1, max=50)] = 10,
    only: Annotated[
        list[str] | None, option("--class", metavar="CLASS", text="Only this class; may be given again.")
    ] = None,
    timeout: Annotated[float, option("--timeout", metavar="SECONDS", text="For one answer.", min=1)] = 60.0,
    fresh: Annotated[bool, typer.Option("--fresh", help="Ask for classes that the file has already, too.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the first question, and stop.")] = False,
    out: Annotated[
        Path | None, option("--out", "-o", metavar="FILE", text="Where to write [the cache: synonyms/DATASET.json].")
    ] = None,
    data: Data = None,
    cache: Cache = None,
) -> None:
    """Have a language model write the words of every class.

    The server must speak the chat completions of OpenAI, as hosted services, vLLM, Ollama and llama.cpp do. The file is
    written after every class, so that the same command goes on where it was stopped; the answers as they came lie
    beside it, in FILE.raw.jsonl. Read it before you use it: copied to DIR/synonyms/DATASET.json it is a file of yours.

    Exit code 0 when all classes are there, 1 when some are missing (they are listed), 2 when the server cannot be used.

    \b
    Examples:
      pzsl-bench synonyms generate shapes --base-url http://localhost:11434/v1 --model llama3.1
      pzsl-bench synonyms generate shapes --base-url http://localhost:11434/v1 --model llama3.1 --dry-run
      pzsl-bench synonyms generate features:animals --data data --base-url https://host/v1 --model m --api-key-env KEY
    """
    from pzsl_bench.data.word_lists import FOLDER, file_names
    from pzsl_bench.encoding.cache import cache_root
    from pzsl_bench.synonyms.chat_client import Chat, key_from
    from pzsl_bench.synonyms.writer import SYSTEM, Writer, chosen, refuse_folder

    chat = Chat(base_url, model, key_from(api_key_env), timeout)
    source = _open(dataset, data)
    path = refuse_folder(out) if out is not None else cache_root(cache) / FOLDER / file_names(dataset)[0]
    writer = Writer(chat, dataset, source.class_names, path, most)
    classes = chosen(source.class_names, only or [])
    if dry_run:
        typer.echo(f"{SYSTEM}\n\n{writer.question(classes[0])}")
        return
    if chat.is_exposed:
        complain(f"warning: the key goes to {chat.host} unencrypted; https:// would hide it")
    failed = writer.write(classes, fresh, typer.echo)
    if not failed:
        typer.echo(f"all {len(classes)} classes are in {path}; next: {PROGRAM} synonyms check {dataset}")
        return
    complain(f"{len(failed)} of {len(classes)} classes are missing in {path}: {', '.join(failed)}")
    complain("the same command asks for them again")
    raise typer.Exit(1)


@app.command()
def plot(
    dataset: DatasetName,
    name: Annotated[str, typer.Argument(metavar="CLASS", help="One of its classes.")],
    out: Annotated[
        Path | None, option("--out", "-o", metavar="FILE", text="A .png, .svg or .pdf [synonyms-CLASS.png].")
    ] = None,
    images: Annotated[bool, typer.Option("--images/--no-images", help="Draw images of the class, too.")] = True,
    encoder: EncoderName = None,
    eps_rule: Rule = "coverage",
    eps: Eps = 0.5,
    rho: Rho = 0.8,
    quantile: Quantile = 0.5,
    metric: Metric = "chord",
    download: Download = False,
    data: Data = None,
    cache: Cache = None,
) -> None:
    """Draw the names of a class and its images.

    The plane is that of the two strongest directions of the names. Lines join names that are at most eps apart; names
    that the space leaves out are red. Images of a seen class are training images. An unseen class has none: its test
    images are drawn, to be looked at, and nothing is computed from them. All images are moved by the difference between
    the mean training image and the mean class name.

    \b
    Examples:
      pzsl-bench synonyms plot shapes "dotted purple circle"
      pzsl-bench synonyms plot shapes:odd "speckled magenta round" --no-images --out round.svg
    """
    from pzsl_bench.encoding.cache import cache_root
    from pzsl_bench.encoding.encode import encode
    from pzsl_bench.encoding.encoder import NoEncoder
    from pzsl_bench.synonyms.plot import check_suffix, draw, images_of, picture, with_images
    from pzsl_bench.synonyms.report import report
    from pzsl_bench.synonyms.words import look_up

    compactness = _compactness(eps_rule, eps, rho, quantile, metric)
    path = check_suffix(out or Path(f"synonyms-{re.sub(r'[^A-Za-z0-9]+', '-', name).strip('-')}.png"))
    source = _open(dataset, data)
    number = _number(source, name)
    chosen_encoder = _encoder(dataset, encoder, cache)
    if isinstance(chosen_encoder, NoEncoder):
        raise UserError(f"dataset '{dataset}' needs an encoder that reads names: --encoder NAME:WEIGHTS")
    found = look_up(dataset, source.class_names, data, cache_root(cache))
    names = _vectors(source, dataset, chosen_encoder, chosen_encoder.load(download=download), found, cache)
    facts = report(found, source, None, names, compactness)[number]
    assert facts.space is not None
    drawing = picture(facts.name, facts.names, facts.space, compactness)
    if images:
        encoded = encode(source, dataset, chosen_encoder, cache=cache_root(cache), download=download)
        drawing = with_images(drawing, facts.space, images_of(source, encoded, number))
    draw(drawing, path)
    typer.echo(f"{path}: {drawing.title}")


def _open(dataset: str, data: Path | None) -> Source:
    from pzsl_bench.data.source import find_dataset

    return find_dataset(dataset, data).open()


def _number(source: Source, name: str) -> int:
    from pzsl_bench.synonyms.writer import chosen

    return source.class_names.index(chosen(source.class_names, [name])[0])


def _compactness(rule: str, eps: float, rho: float, quantile: float, metric: str) -> Compactness:
    from pzsl_bench.base.errors import unknown
    from pzsl_bench.synonyms.space import METRICS, RULES, Compactness

    if rule not in RULES:
        raise unknown("rule for eps", rule, RULES)
    if metric not in METRICS:
        raise unknown("metric", metric, METRICS)
    if eps < 0 or not 0 <= rho <= 1 or not 0 <= quantile <= 1:
        raise UserError("--eps must not be negative; --rho and --quantile are shares between 0 and 1")
    return Compactness(rule, eps, rho, quantile, metric)


def _encoder(dataset: str, encoder: str | None, cache: Path | None) -> Encoder:
    from pzsl_bench.data.source import find_dataset
    from pzsl_bench.encoding.encoder import find_encoder

    return find_encoder(encoder or find_dataset(dataset).default_encoder, cache)


def _vectors(
    source: Source, dataset: str, encoder: Encoder, model: LoadedEncoder, found: Found, cache: Path | None
) -> NDArray[np.float32]:
    from pzsl_bench.encoding.cache import cache_root
    from pzsl_bench.encoding.encode import class_texts_of
    from pzsl_bench.synonyms.name_vectors import name_texts

    class_texts = class_texts_of(source, encoder, model)
    return name_texts(source, dataset, encoder, found.synonyms, class_texts, cache=cache_root(cache))
