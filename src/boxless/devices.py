"""Which device to use."""

from __future__ import annotations

import torch

from boxless.errors import ConfigError


def pick_device(device: str | torch.device = "auto") -> torch.device:
    """The device of that name; ``auto`` takes the best there is.

    Raises:
        ConfigError: This machine has no such device.
    """
    if str(device) == "auto":
        return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"device {device}: it cannot be used here ({reason}); take --device cpu or auto.") from error
    return chosen
