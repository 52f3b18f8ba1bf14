"""Fetching: any part of an artifact to this machine, resumable, verified, upgraded in place."""

from p2uformat.download.fetch import fetch, plan_fetch
from p2uformat.download.types import FetchPlan, FetchProgress, FetchResult

__all__ = ["FetchPlan", "FetchProgress", "FetchResult", "fetch", "plan_fetch"]
