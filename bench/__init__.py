"""Benchmarks: ratios against a named peer or the bare database, in one run.

`python -m bench` prints all of them, with the name of a part that one; on servers of their own in
`var/bench`, which it keeps.
"""
