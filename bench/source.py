"""The old place of `pzsl_bench.data.source`, kept for one version."""

from pzsl_bench.base.moved import old_place
from pzsl_bench.data.source import *  # noqa: F403

old_place(__name__, "pzsl_bench.data.source")
