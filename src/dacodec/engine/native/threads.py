"""How many threads a call of the native engine gets: never more than can run at once."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch


def usable_cores() -> int:
    """Cores that this process may run on, at least 1."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def default_threads() -> int:
    """PyTorch's setting, which ``OMP_NUM_THREADS`` changes, but no more than the cores and the quota allow."""
    return max(1, min(torch.get_num_threads(), usable_cores(), _quota()))


@cache
def _quota() -> int:
    quota = cpu_quota()
    return math.ceil(quota) if math.isfinite(quota) else 1 << 20


def cpu_quota(root: Path = Path("/")) -> float:
    """CPU time, in cores, that this process's control groups (a container's, say) allow; infinity without a
    limit.

    Args:
        root: the folder that holds ``proc`` and ``sys``.

    Source: cgroups(7), and the kernel's documentation of the CPU controllers of cgroup v1 and v2.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:  # not Linux
        return math.inf
    mounts = root / "sys/fs/cgroup"
    quotas = [math.inf]
    for line in lines:
        hierarchy, controllers, path = line.split(":", 2)
        if hierarchy == "0":
            quotas.append(_least(mounts, path, _quota_v2))
        elif "cpu" in controllers.split(","):
            quotas += [_least(mounts / name, path, _quota_v1) for name in ("cpu", controllers)]
    return min(quotas)


def _least(mount: Path, path: str, quota_of: Callable[[Path], float]) -> float:
    """The least quota of the group at ``path`` and those above. (A container's may be at the top instead.)"""
    group = mount / path.strip("/")
    return min(quota_of(folder) for folder in (group, *group.parents) if folder.is_relative_to(mount))


def _quota_v2(group: Path) -> float:
    return _share(*_read(group / "cpu.max").split())


def _quota_v1(group: Path) -> float:
    return _share(_read(group / "cpu.cfs_quota_us"), _read(group / "cpu.cfs_period_us"))


def _share(quota: str = "", period: str = "") -> float:
    """``quota`` / ``period``, both in microseconds; "max", -1 or nothing means no limit."""
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() else math.inf


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
