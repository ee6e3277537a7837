"""Continued pre-training: the loss of supervised fine-tuning, on texts of which every token is in the loss."""

from __future__ import annotations

from .sft import build

__all__ = ["build"]
