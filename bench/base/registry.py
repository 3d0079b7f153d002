"""Registries, which find methods, datasets and the like by name.

A built-in is a module of the registry's package and is registered under the module's own name; it is imported only
when it is asked for. Another package adds its own through an entry point whose name is the registered name.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

from pzsl_bench.base.errors import UserError, unknown

T = TypeVar("T")


class ClashError(UserError):
    """Two things are registered under one name."""


@dataclass
class Registry(Generic[T]):
    """Lazy look-up of one kind of thing."""

    kind: str
    package: str
    plugins: str | None = None
    whole: bool = False
    """One module holds every built-in (ambiguities) instead of one module each."""
    found: dict[str, T] = field(default_factory=dict)
    """What has been registered so far, by name."""
    broken: dict[str, str] = field(default_factory=dict)
    """Plug-ins that could not be loaded, with the reason."""

    def add(self, name: str, thing: T) -> None:
        """Register; the same name twice is a mistake."""
        old = self.found.get(name)
        if old is not None and _home(old) != _home(thing):
            raise ClashError(f"two {self.kind}s are called '{name}': {_home(old)} and {_home(thing)}")
        ours = _home(thing).startswith(f"{self.package}.{name}.")
        if not (ours or self.whole) and name in self.builtin():
            raise ClashError(f"{_home(thing)} takes the name of the built-in {self.kind} '{name}'")
        self.found[name] = thing

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator form of `add`."""

        def keep(thing: T) -> T:
            self.add(name, thing)
            return thing

        return keep

    def builtin(self) -> list[str]:
        """Names that ship with the package, without importing them (unless one module holds all)."""
        home = importlib.import_module(self.package)
        if self.whole:
            return sorted(n for n, t in self.found.items() if _home(t).startswith(self.package))
        return sorted(m.name for m in pkgutil.iter_modules(home.__path__) if not m.name.startswith("_"))

    def entry_points(self) -> dict[str, EntryPoint]:
        """What other packages offer; a clash of names is an error, whoever came first."""
        if self.plugins is None:
            return {}
        offers: dict[str, EntryPoint] = {}
        builtin = set(self.builtin())
        for point in entry_points(group=self.plugins):
            if point.name in builtin:
                raise ClashError(f"{point.value} takes the name of the built-in {self.kind} '{point.name}'")
            rival = offers.setdefault(point.name, point).value
            if rival != point.value:
                raise ClashError(f"two {self.kind}s are called '{point.name}': {rival} and {point.value}")
        return offers

    def names(self) -> list[str]:
        """Every name that can be asked for."""
        return sorted({*self.builtin(), *self.entry_points(), *self.found} - set(self.broken))

    def get(self, name: str) -> T:
        """The thing of that name; an unknown name suggests the nearest one."""
        if name not in self.found:
            offers = self.entry_points()
            if name in self.builtin():
                module = importlib.import_module(self.package if self.whole else f"{self.package}.{name}")
                if name not in self.found:
                    raise UserError(f"{module.__file__} registers no {self.kind} called '{name}'")
            elif name in offers:
                self._load(offers[name])
        if name not in self.found:
            if name in self.broken:
                raise UserError(f"{self.kind} '{name}' cannot be loaded: {self.broken[name]}")
            raise unknown(self.kind, name, self.names())
        return self.found[name]

    def all(self) -> dict[str, T]:
        """Everything that loads; plug-ins that cannot be loaded are in `broken` afterwards."""
        for point in self.entry_points().values():
            if point.name not in self.found:
                self._load(point)
        return {name: self.get(name) for name in self.names()}

    def _load(self, point: EntryPoint) -> None:
        # Somebody else's module may fail in any way; that must not stop the harness.
        try:
            thing = point.load()
        except ClashError:
            raise
        except Exception as error:
            self.broken[point.name] = f"{point.value}: {type(error).__name__}: {error}"
            return
        if point.name not in self.found:
            self.broken[point.name] = f"{point.value} gave {thing!r} and registered nothing under that name"


def _home(thing: object) -> str:
    """The full name of a class or function, with its module."""
    return f"{getattr(thing, '__module__', '?')}.{getattr(thing, '__qualname__', '?')}"
