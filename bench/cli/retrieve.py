"""The command `retrieve`, which finds images by words."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pzsl_bench.cli.arguments import Cache, Data, Device, Download, option

if TYPE_CHECKING:
    from pzsl_bench.data.source import Images
    from pzsl_bench.reports.contact_sheet import Tile
    from pzsl_bench.reports.retrieve import Ranking


def retrieve(
    dataset: Annotated[str, option("--dataset", metavar="NAME", text="A dataset (see `list datasets`).")],
    tag: Annotated[str, option("--tag", "-t", metavar="TEXT", text="What to look for: any words.")],
    encoder: Annotated[
        str | None, option("--encoder", metavar="NAME[:WEIGHTS]", text="An encoder [that of the dataset].")
    ] = None,
    top: Annotated[int, option("--top", "-n", metavar="N", text="How many images to show.", min=1, max=1000)] = 25,
    out: Annotated[
        Path | None, option("--out", "-o", metavar="FILE", text="Draw them on a sheet, a .png or .jpg file.")
    ] = None,
    contrast: Annotated[
        bool, typer.Option("--contrast", help="Subtract what the words share with all class texts of the dataset.")
    ] = False,
    device: Device = "auto",
    download: Download = False,
    data: Data = None,
    cache: Cache = None,
) -> None:
    """Find images of a dataset by words.

    All its images, those for training and those for the test, are ranked by their similarity to the words; nothing is
    trained. A word that is a class or tag of the dataset is read as the exam reads it, and the images are marked as
    right or wrong. Frames on the sheet are green where it is right, red where it is wrong.

    \b
    Examples:
      pzsl-bench retrieve --dataset scenes --tag "a red heart" --out hearts.png
      pzsl-bench retrieve --dataset scenes --tag teal --top 10 --contrast
      pzsl-bench retrieve --dataset coco:80 --data data --encoder ViT-B-32:laion2b_s34b_b79k --tag "a dog on a sofa"
    """
    import sys

    from pzsl_bench.base.errors import UserError
    from pzsl_bench.cli.progress import PlainProgress, complain
    from pzsl_bench.data.source import find_dataset
    from pzsl_bench.encoding.cache import cache_root
    from pzsl_bench.encoding.encoder import find_encoder
    from pzsl_bench.reports import contact_sheet
    from pzsl_bench.reports.describe import columns
    from pzsl_bench.reports.retrieve import lines
    from pzsl_bench.reports.retrieve import retrieve as find
    from pzsl_bench.training.memory import pick_device

    opened = find_dataset(dataset, data)
    if out is not None:
        contact_sheet.kind_of(out)
    source = opened.open()
    if out is not None and source.images is None:
        raise UserError(f"dataset '{dataset}' brings features only, so there are no images to draw; leave --out away")
    ranking = find(
        source,
        dataset,
        find_encoder(encoder or opened.default_encoder, cache),
        tag,
        top=top,
        cache=cache_root(cache),
        contrast=contrast,
        device=str(pick_device(device)),
        download=download,
        progress=PlainProgress(sys.stderr).encoding,
    )
    typer.echo(columns(lines(ranking)))
    if ranking.verdict:
        typer.echo(ranking.verdict)
    if out is not None and source.images is not None:
        contact_sheet.save(out, f"{dataset}: {ranking.text}", _tiles(ranking, source.images))
        complain(f"sheet: {out}")


def _tiles(ranking: Ranking, images: Images) -> list[Tile]:
    """A picture for each image found."""
    from pzsl_bench.encoding.image_reading import read_one
    from pzsl_bench.reports.contact_sheet import Tile

    return [
        Tile(
            read_one(images, lambda image, _: image, hit.image),
            (f"{rank}. image {hit.image}, {hit.score:.3f}", ", ".join(hit.names)),
            hit.right,
        )
        for rank, hit in enumerate(ranking.hits, 1)
    ]
