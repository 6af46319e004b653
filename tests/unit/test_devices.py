from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest
import torch

from boxless.devices import pick_device
from boxless.errors import ConfigError

GLIBC = platform.system() == "Linux" and platform.libc_ver()[0] == "glibc"
FAULTS = """
import resource, torch
from boxless.devices import pick_device
pick_device("cpu")
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(50):
        torch.zeros(5_000_000).add_(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
"""


def test_auto_takes_a_device_that_is_there() -> None:
    best = torch.accelerator.current_accelerator(check_available=True)
    assert pick_device("auto").type == (best.type if best else "cpu")


@pytest.mark.parametrize("device", ["cuda:99", "nowhere"])
def test_a_device_that_is_not_there_is_refused(device: str) -> None:
    with pytest.raises(ConfigError, match=f"{device}.*--device cpu or auto"):
        pick_device(device)


@pytest.mark.skipif(not GLIBC, reason="glibc's malloc alone gives freed memory back so eagerly")
def test_on_a_cpu_the_memory_of_freed_tensors_is_used_again_unless_the_user_has_set_malloc() -> None:
    def page_faults(**settings: str) -> int:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_TUNABLES"))}
        command = [sys.executable, "-c", FAULTS]
        found = subprocess.run(command, env=inherited | settings, capture_output=True, text=True, check=True)
        return int(found.stdout)

    pages = 50 * 5_000_000 * 4 // os.sysconf("SC_PAGE_SIZE")
    assert page_faults() < pages / 100
    assert page_faults(MALLOC_MMAP_THRESHOLD_="1000000") > pages / 2
