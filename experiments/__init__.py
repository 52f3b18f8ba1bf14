"""What the papers claim, tried with real models in PyTorch. ``python -m experiments`` runs it all.

Part of the checkout, not of the package that is installed.
"""
