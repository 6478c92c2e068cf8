"""Benchmarks: ratios against a named peer or the bare database, in one run.

`python -m bench` prints all of them; on servers of their own in `var/bench`, which it keeps.
"""
