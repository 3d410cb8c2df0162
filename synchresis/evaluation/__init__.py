"""Metrics with pinned definitions, their chance levels and intervals."""
