"""Benchmarks: ratios to named peers, measured side by side in one run. They are not tests.

`python -m bench.all` runs all of them and prints one table; `python -m bench.startup`, for example, runs one.
`bench/setup.sh` installs the tools that they compare `ark` with.
"""
