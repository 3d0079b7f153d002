"""The old place of `pzsl_bench.blocks.tag_heads`, kept for one version."""

from pzsl_bench.base.moved import old_place
from pzsl_bench.blocks.tag_heads import *  # noqa: F403
from pzsl_bench.blocks.tag_heads import marks_of as said  # noqa: F401

old_place(__name__, "pzsl_bench.blocks.tag_heads")
