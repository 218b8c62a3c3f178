"""Workers: processes that end with the one that started them, or a Dask cluster."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from awm.errors import AwmError

#: What a function that drives takes as its `workers`: so many processes (None: one a core), the
#: address of a Dask scheduler, or any executor, for one task at a time.
Workers = int | str | Executor | None

#: Seconds after which a worker notices that it is alone.
_LOOKS_EVERY = 1.0
#: Seconds for which processes wait for more to do: they take some to start.
_STAYS = 30.0


@contextmanager
def opened(workers: Workers = None) -> Iterator[tuple[Executor, int]]:
    """Something that runs functions elsewhere, and how many at a time.

    Args:
        workers: a cluster's need this package and no files; `"local"` is one that is started here.
            Certificates for `tls://…` are Dask's settings (`distributed.comm.tls`).

    Raises:
        AwmError: if no scheduler answers, or it has no workers; as `pool`.
    """
    if isinstance(workers, Executor):
        yield workers, 1
    elif isinstance(workers, str):
        with _dask(workers) as found:
            yield found
    else:
        count = workers or os.cpu_count() or 1
        with pool(count) as executor:
            yield executor, count


@dataclass(frozen=True, eq=False)
class _Processes:
    """Workers of this machine, and the children that there were before them."""

    size: int
    executor: ProcessPoolExecutor
    before: frozenset

    def kill(self) -> None:
        for worker in set(multiprocessing.active_children()) - self.before:
            worker.terminate()
        self.executor.shutdown(wait=False, cancel_futures=True)

    def dismiss(self) -> None:
        with suppress(ValueError):  # they have found work
            _waiting.remove(self)
            self.executor.shutdown(wait=False)


#: Those that wait for more to do: what was needed last.
_waiting: list[_Processes] = []


def _hired(size: int) -> _Processes:
    """Those that wait, if they are so many, or new ones."""
    while _waiting:
        found = _waiting.pop()
        with suppress(BrokenProcessPool):  # one may have been killed while it waited
            if found.size == size and found.executor.submit(int).result() == 0:
                return found
        found.executor.shutdown(wait=False)
    # Spawned, not forked: a fork of a process in which torch has started its threads can hang.
    context = multiprocessing.get_context("spawn")
    before = frozenset(multiprocessing.active_children())
    return _Processes(size, ProcessPoolExecutor(size, context, _begin, (os.getpid(),)), before)


@contextmanager
def pool(workers: int | None = None) -> Iterator[ProcessPoolExecutor]:
    """Workers of this machine; what they still do when the block fails is given up.

    They stay a while, for whoever needs as many next.

    Args:
        workers: by default one a core.

    Raises:
        AwmError: if a worker dies, killed or for want of memory.
    """
    mine = _hired(workers or os.cpu_count() or 1)
    try:
        yield mine.executor
    except BaseException as error:
        mine.kill()
        if isinstance(error, BrokenProcessPool):
            raise AwmError(
                "A worker process has died: killed, or there was not enough memory. What is "
                "finished is kept; run the same command again, with fewer `--workers` if need be."
            ) from error
        raise
    _waiting.append(mine)
    timer = threading.Timer(_STAYS, mine.dismiss)
    timer.daemon = True
    timer.start()


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
