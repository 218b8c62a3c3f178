"""Workers: processes that end with the one that started them, or a Dask cluster."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

from awm.errors import AwmError

#: Seconds after which a worker notices that it is alone.
_LOOKS_EVERY = 1.0


@contextmanager
def workers(count: int | None = None, cluster: str | None = None) -> Iterator[tuple[Executor, int]]:
    """Something that runs functions elsewhere, and how many at a time.

    Args:
        count: by default one a core, or one a thread of the cluster.
        cluster: the address of a Dask scheduler, whose workers need this package and no files, or
            `"local"` for one that is started here. Certificates for `tls://…` are Dask's settings
            (`distributed.comm.tls`).

    Raises:
        AwmError: if no scheduler answers, or it has no workers; as `pool`.
    """
    if cluster is None:
        count = count or os.cpu_count() or 1
        with pool(count) as executor:
            yield executor, count
    else:
        with _dask(cluster) as (executor, threads):
            yield executor, count or threads


@contextmanager
def pool(workers: int | None = None) -> Iterator[ProcessPoolExecutor]:
    """Workers for as long as the block lasts; what they still do when it fails is given up.

    Args:
        workers: by default one a core.

    Raises:
        AwmError: if a worker dies, killed or for want of memory.
    """
    before = set(multiprocessing.active_children())
    size = workers or os.cpu_count() or 1
    # Spawned, not forked: a fork of a process in which torch has started its threads can hang.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(size, context, _begin, (os.getpid(),)) as executor:
        try:
            yield executor
        except BaseException as error:
            for worker in set(multiprocessing.active_children()) - before:
                worker.terminate()
            executor.shutdown(wait=False, cancel_futures=True)
            if isinstance(error, BrokenProcessPool):
                raise AwmError(
                    "A worker process has died: killed, or there was not enough memory. What is "
                    "finished is kept; run the same command again, with fewer `--workers` if need "
                    "be."
                ) from error
            raise


@contextmanager
def _dask(address: str) -> Iterator[tuple[Executor, int]]:
    try:
        from distributed import Client, LocalCluster
    except ImportError:
        raise AwmError("A cluster needs Dask. Install it with `pip install 'awm[cluster]'`.") from (
            None
        )
    if address == "local":
        # A thread each: torch, numba and BLAS would otherwise take all cores, every one of them.
        cluster = LocalCluster(os.cpu_count(), threads_per_worker=1, dashboard_address=None)
        with cluster, _dask(cluster.scheduler_address) as found:
            yield found
        return
    try:
        client = Client(address, timeout=10)
    except TypeError as error:  # no certificate
        raise AwmError(
            f"{address} asks for certificates. Set those of `distributed.comm.tls` in Dask's "
            "configuration."
        ) from error
    except (OSError, TimeoutError, ValueError) as error:
        raise AwmError(
            f"No Dask scheduler answers at {address} ({error}). Start one with `dask scheduler` "
            "and workers with `dask worker ADDRESS --nthreads 1`."
        ) from error
    with client:
        threads = sum(client.nthreads().values())
        if not threads:
            raise AwmError(
                f"The cluster at {address} has no workers. Start `dask worker {address}`."
            )
        yield client.get_executor(pure=False), threads


def _begin(parent: int) -> None:
    # Ctrl-C reaches all processes of a terminal; the parent ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOKS_EVERY)
    os._exit(1)
