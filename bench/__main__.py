"""`python -m pzsl_bench`, the same as `pzsl-bench`."""

from pzsl_bench.cli.main import main

main()
