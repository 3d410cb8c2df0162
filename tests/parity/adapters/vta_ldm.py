"""VTA-LDM."""

from __future__ import annotations

from .common import Adapter, Check

ADAPTERS: dict[str, Adapter | Check] = {}
