"""Worker processes: one thread each, and gone when the process that started them is."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

from awm.errors import AwmError

#: Seconds after which a worker notices that it is alone.
_LOOKS_EVERY = 1.0


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


def _begin(parent: int) -> None:
    # Ctrl-C reaches all processes of a terminal; the parent ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOKS_EVERY)
    os._exit(1)
