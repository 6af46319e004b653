"""Which device to use."""

from __future__ import annotations

import ctypes
import functools
import os
import platform

import torch

from boxless.errors import ConfigError

_MALLOPT = {"trim": (-1, 2_000_000_000), "top pad": (-2, 64 * 2**20), "mmap": (-3, 1_000_000_000)}  # malloc.h
_USERS_OWN = ("MALLOC_", "GLIBC_TUNABLES")


def pick_device(device: str | torch.device = "auto") -> torch.device:
    """The device of that name; ``auto`` takes the best there is.

    Raises:
        ConfigError: This machine has no such device.
    """
    try:
        best = torch.accelerator.current_accelerator(check_available=True) if str(device) == "auto" else device
        chosen = torch.device(best or "cpu")
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"device {device}: it cannot be used here ({reason}); take --device cpu or auto.") from error
    if chosen.type == "cpu":
        keep_freed_memory()
    return chosen


@functools.cache
def keep_freed_memory() -> bool:
    """Let glibc's malloc keep the memory of freed tensors for the next ones; whether it will.

    By default it gives each large block back to the system and gets it anew, page by page, in every layer of a network:
    a third of the time of a forward pass on a CPU. Settings of malloc in the environment are left alone.
    """
    theirs = any(name.startswith(_USERS_OWN) for name in os.environ)
    if theirs or platform.system() != "Linux" or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return all(mallopt(option, value) for option, value in _MALLOPT.values())
