"""Workers do not outlive the process that started them, and their death is said."""

import os
import signal
import subprocess
import sys
import time

import pytest

from awm import processes
from awm.errors import AwmError

HELPER = """
import os, signal, sys, time
from awm import processes

if __name__ == "__main__":
    # Ignored where the tests run in a shell's background.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with processes.pool(2) as pool:
        print(*{job.result() for job in [pool.submit(os.getpid) for _ in range(20)]}, flush=True)
        jobs = [pool.submit(time.sleep, 600) for _ in range(2)]
        print("busy", flush=True)
        jobs[0].result()
"""


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_workers_end_with_their_parent(how, tmp_path):
    (tmp_path / "helper.py").write_text(HELPER)
    helper = subprocess.Popen(
        [sys.executable, str(tmp_path / "helper.py")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    workers = [int(pid) for pid in helper.stdout.readline().split()]
    assert workers and helper.stdout.readline() == "busy\n"
    if how == signal.SIGINT:  # as a terminal does: to all of them
        for pid in workers:
            os.kill(pid, how)
        time.sleep(0.3)
        assert all(map(alive, workers)), "it is the parent that ends them"
    helper.send_signal(how)
    _, said = helper.communicate(timeout=30)
    deadline = time.monotonic() + 10
    while any(map(alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(alive, workers))
    assert said.count("Traceback") <= (how == signal.SIGINT), "the parent's alone"


def test_a_worker_that_dies_is_said():
    died = pytest.raises(AwmError, match="worker process has died.*same command")
    with died, processes.pool(1) as pool:
        pool.submit(os._exit, 3).result()


def test_a_cluster_may_ask_for_certificates():
    distributed = pytest.importorskip("distributed")
    pytest.importorskip("cryptography")
    from dask import config

    security = distributed.Security.temporary()
    cluster = distributed.LocalCluster(
        1, threads_per_worker=1, dashboard_address=None, processes=False, security=security
    )
    certificate = {"cert": security.tls_client_cert, "key": security.tls_client_key}
    tls = {"ca-file": security.tls_ca_file, "client": certificate}
    with cluster:
        address = cluster.scheduler_address
        with (
            pytest.raises(AwmError, match="asks for certificates"),
            processes.opened(address),
        ):
            pass
        asked = {f"distributed.comm.tls.{name}": value for name, value in tls.items()}
        with config.set(asked), processes.opened(address) as (executor, size):
            assert size == 1 and executor.submit(sum, [1, 2]).result() == 3


def test_workers_wait_for_who_needs_as_many_and_the_dead_are_replaced():
    def pids(size):
        with processes.pool(size) as pool:
            return {job.result() for job in [pool.submit(os.getpid) for _ in range(8)]}

    first = pids(1)
    assert pids(1) == first
    os.kill(*first, signal.SIGKILL)
    time.sleep(0.2)
    second = pids(1)
    assert second != first
    assert pids(2).isdisjoint(second)
    deadline = time.monotonic() + 10
    while any(map(alive, second)):
        assert time.monotonic() < deadline, "those that nobody needs are sent away"
        time.sleep(0.05)
