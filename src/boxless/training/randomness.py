"""Random numbers that depend on what they are for, and not on what was drawn before: so a run can go on anywhere."""

from __future__ import annotations

import hashlib

import torch


def derive(seed: int, *purpose: int | str) -> int:
    """A seed for one purpose of a run, such as the order of one epoch."""
    text = "/".join(map(str, (seed, *purpose)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) >> 1


def generator(seed: int, *purpose: int | str) -> torch.Generator:
    """A generator on the CPU, seeded for one purpose."""
    return torch.Generator().manual_seed(derive(seed, *purpose))
