"""One module per source of images or features, registered under the module's own name."""

if __name__ == "datasets":
    # `import datasets` at the checkout's root lands here, as this folder shadows Hugging Face's package.
    import sys
    from importlib.machinery import PathFinder
    from importlib.util import module_from_spec
    from pathlib import Path

    root = Path(__file__).resolve().parent.parent
    spec = PathFinder.find_spec("datasets", [p for p in sys.path if Path(p).resolve() != root])
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError("No module named 'datasets'", name="datasets")
    # The import system returns whatever stands in sys.modules once this body has run.
    sys.modules["datasets"] = module_from_spec(spec)
    spec.loader.exec_module(sys.modules["datasets"])
