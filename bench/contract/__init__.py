"""All that a method or a plug-in may rely on; its names are versioned API.

The author of a method imports from here: `from pzsl_bench.contract import Gradient, method, hyper`.
"""

from pzsl_bench.contract.bases import ClosedForm, Fed, Gradient, Method, Steady, Viewed
from pzsl_bench.contract.class_texts import ClassTexts
from pzsl_bench.contract.heads import HEADS
from pzsl_bench.contract.info import FAMILIES, SHARED_HEAD, Citation, Family, MethodInfo
from pzsl_bench.contract.needs import FEEDS
from pzsl_bench.contract.register import METHODS, configure, method
from pzsl_bench.contract.settings import hyper
from pzsl_bench.contract.study import (
    Batch,
    Net,
    Output,
    State,
    Study,
    Update,
    normalise,
    nothing,
    renormalise,
    soft_cross_entropy,
)

__all__ = [
    "FAMILIES",
    "FEEDS",
    "HEADS",
    "METHODS",
    "SHARED_HEAD",
    "Batch",
    "Citation",
    "ClassTexts",
    "ClosedForm",
    "Family",
    "Fed",
    "Gradient",
    "Method",
    "MethodInfo",
    "Net",
    "Output",
    "State",
    "Steady",
    "Study",
    "Update",
    "Viewed",
    "configure",
    "hyper",
    "method",
    "normalise",
    "nothing",
    "renormalise",
    "soft_cross_entropy",
]
