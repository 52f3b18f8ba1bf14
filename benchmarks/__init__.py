"""Measurements of p2uformat beside its peers; run with ``python -m benchmarks``.

Nothing here is installed with the package. Each module measures one thing and hands back a
`report.Section`; all of them also run on tiny inputs in the tests, so that they cannot rot.
"""
