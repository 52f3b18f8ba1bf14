"""Pictures of an artifact, and of two: one file per figure; `page` and `picture` put them together.

Only `p2u_cli.plotting` imports from here, when a picture was asked for: it needs matplotlib.
"""
