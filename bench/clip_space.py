"""The old place of `pzsl_bench.blocks.clip_space`, kept for one version."""

from pzsl_bench.base.moved import old_place
from pzsl_bench.blocks.clip_space import *  # noqa: F403

old_place(__name__, "pzsl_bench.blocks.clip_space")
