"""Stores: many artifacts in one place, as keys and bytes (SPEC.md, 20)."""
