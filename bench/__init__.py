"""A benchmark harness for zero-shot learning from ambiguous labels on CLIP features.

The map of the house. A room may import only the rooms above it in this list:

    base       Imports nothing of ours; knows no image, method or grid, and needs no torch.
    records    What a result is called, what it holds and how it is kept on disk. No method, no torch.
    data       Files become a `Source`, labels become candidate sets. NumPy only: no torch, no encoder.
    contract   All that a method or a plug-in may rely on; its names are versioned API.
    blocks     Tensor parts that several methods share, written for one run.
    encoding   Images and class names become vectors, once, and are remembered on disk.
    synonyms   Other names of classes: where they come from, and the space that they span.
    problem    A dataset through an encoder as tensors: the study, which methods see, and the exam of the judge.
    training   Fits one stack of studies. Never sees an exam, a record or a grid.
    judging    The only reader of an exam. Returns numbers; writes nothing and chooses nothing.
    selecting  Chooses draw and epoch on training data; may call the judge on rehearsals only.
    planning   Grid file to cells, identities, states and stacks. Reads records, computes nothing.
    running    Carries out a plan: encodes, hands stacks to workers, writes one record for every cell.
    reports    Turns records and registries into tables, text, pictures and MLflow runs. Changes no result.
    cli        Words in, exit codes out. The only room that prints.

`pzsl_bench.methods` may import base, contract, blocks and synonyms; `pzsl_bench.datasets` base, data and encoding.
"""

__version__ = "0.1.0"
