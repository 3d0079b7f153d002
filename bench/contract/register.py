"""The registry of methods: registering a class, and configuring a method from settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields
from typing import Any, TypeVar

from pzsl_bench.base.errors import UserError, unknown
from pzsl_bench.base.registry import Registry
from pzsl_bench.contract.bases import Gradient, Method
from pzsl_bench.contract.info import FAMILIES, Citation, Family, MethodInfo
from pzsl_bench.contract.settings import checked

M = TypeVar("M", bound="type[Method]")

METHODS: Registry[type[Method]] = Registry("method", "pzsl_bench.methods", plugins="pzsl_bench.methods")


def method(
    name: str,
    *,
    title: str,
    family: Family,
    version: int = 1,
    citation: Citation | None = None,
    deviations: Sequence[str] = (),
    reveals_truth: bool = False,
    transductive: bool = False,
    reference: bool = False,
) -> Callable[[M], M]:
    """Register a method class under a name, with its facts."""

    def keep(cls: M) -> M:
        if issubclass(cls, Gradient) and cls.loss is Gradient.loss and cls.step is Gradient.step:
            raise TypeError(f"{cls.__name__} has neither a loss nor a step of its own")
        if family not in FAMILIES:
            raise unknown("family", family, FAMILIES)
        flags = (reveals_truth, transductive, reference or family == "bound")
        cls.info = MethodInfo(name, title, family, version, citation, tuple(deviations), *flags)
        METHODS.add(name, cls)
        return cls

    return keep


def configure(name: str, settings: Mapping[str, Any]) -> Method:
    """The method of that name with these hyper-parameters; a wrong setting is a UserError."""
    cls = METHODS.get(name)
    known = {f.name: f for f in fields(cls)}
    values: dict[str, Any] = {}
    for setting, value in {**_preset(cls, settings), **settings}.items():
        if setting not in known:
            raise unknown(f"setting of method '{name}'", setting, known)
        if setting in (unused := cls.unused()):
            raise UserError(f"{name}.{setting}: method '{name}' has no use for it: {unused[setting]}")
        spec = known[setting]
        values[setting] = checked(f"{name}.{setting}", value, spec.default, spec.metadata)
    missing = [f.name for f in known.values() if f.default is MISSING and f.name not in values]
    if missing:
        raise UserError(f"method '{name}' needs a value for {', '.join(missing)}")
    return cls(**values)


def _preset(cls: type[Method], settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """The settings of the chosen preset, if any; a name that does not exist is left to `checked` to refuse."""
    name = settings.get("preset")
    return cls.presets.get(name, {}) if isinstance(name, str) else {}
