"""Benchmarks: ratios against named peers, measured side by side in one run. Never timed tests.

`python -m bench.all` prints one table of all; `python -m bench.startup` and its neighbours print one figure each.
`bench/setup.sh` installs the tools they compare with.
"""
