"""The number of threads: the setting, the cores, and a container's quota."""

import math
import os

import pytest
import torch

from dacodec.config import DacConfig
from dacodec.engine import NativeEngine
from dacodec.engine.native import threads
from dacodec.model import DacModel


def system(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return root


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({}, math.inf),
        ({"proc/self/cgroup": "0::/"}, math.inf),
        ({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "150000 100000"}, 1.5),
        ({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "max 100000"}, math.inf),
        # The minimum of the group and those above it.
        (
            {
                "proc/self/cgroup": "0::/a/b",
                "sys/fs/cgroup/a/cpu.max": "200000 100000",
                "sys/fs/cgroup/a/b/cpu.max": "max 100000",
            },
            2,
        ),
        # Inside a container the path may be the host's; its own group is the top.
        ({"proc/self/cgroup": "0::/docker/x", "sys/fs/cgroup/cpu.max": "50000 100000"}, 0.5),
        # Version 1.
        (
            {
                "proc/self/cgroup": "5:memory:/x\n4:cpu,cpuacct:/x",
                "sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_quota_us": "300000",
                "sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_period_us": "100000",
            },
            3,
        ),
        (
            {
                "proc/self/cgroup": "4:cpu:/",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
            },
            math.inf,
        ),
    ],
)
def test_the_quota_of_control_groups(tmp_path, files, quota):
    assert threads.cpu_quota(system(tmp_path, files)) == quota


def test_left_out_it_is_the_least_of_all(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.setattr(threads, "usable_cores", lambda: 64)
    monkeypatch.setattr(threads, "_quota", lambda: 1 << 20)
    assert threads.default_threads() == 8
    monkeypatch.setattr(threads, "_quota", lambda: 2)
    assert threads.default_threads() == 2
    monkeypatch.setattr(threads, "usable_cores", lambda: 1)
    assert threads.default_threads() == 1


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system has no affinities")
def test_an_engine_has_no_more_threads_than_cores(monkeypatch):
    with torch.device("meta"):
        model = DacModel(DacConfig(downsampling_ratios=[2], decoder_hidden_size=16, encoder_hidden_size=4))
    monkeypatch.setattr("dacodec.engine.native.engine.usable_cores", lambda: 4)
    assert NativeEngine(model, threads=3).threads == 3
    assert NativeEngine(model, threads=64).threads == 4
    monkeypatch.undo()
    cores = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(cores)})
        assert NativeEngine(model, threads=64).threads == NativeEngine(model).threads == 1
    finally:
        os.sched_setaffinity(0, cores)
