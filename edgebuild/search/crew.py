"""Who does the work: processes of this machine, or the workers of a Dask cluster."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any, Protocol

from edgebuild.compress.run import ENVIRONMENT
from edgebuild.errors import EdgebuildError, InputError, ToolError
from edgebuild.search.problem import Problem

Work = Callable[..., Any]
"""A function of a module, of the problem and further arguments, all of which can be pickled."""

DASK_TIMEOUT_S = 20
_DASK_RETRIES = 3


class LostError(Exception):
    """The worker of a task died; the task may be tried again."""


class CrewError(EdgebuildError):
    """The crew cannot go on; no candidate is to blame."""


class LostCrewError(CrewError, ToolError):
    """Its workers keep dying, or nobody reaches them."""


class UnfitWorkerError(CrewError, InputError):
    """A worker has not what candidates need."""


class Crew(Protocol):
    """Workers that try candidates of one problem."""

    @property
    def size(self) -> int:
        """How many there are."""
        ...

    def submit(self, work: Work, *arguments: Any) -> Any:
        """Let the next free worker do ``work(problem, *arguments)``; return the ticket."""
        ...

    def wait(self, tickets: Iterable[Any], timeout_s: float) -> set[Any]:
        """Return the tickets that are done, after at most ``timeout_s``."""
        ...

    def result(self, ticket: Any) -> Any:
        """Return what came of it, or raise what it raised; LostError when its worker died."""
        ...

    def close(self) -> None:
        """Let the workers go; what runs is given up."""
        ...


class LocalCrew:
    """``size`` processes, each with TensorFlow loaded once. Each has a pool of its own: one that
    dies takes no other's work with it."""

    def __init__(self, problem: Problem, size: int) -> None:
        self.size = size
        self._problem = problem
        self._pools = [self._new_pool() for _ in range(size)]
        self._given: list[list[futures.Future[Any]]] = [[] for _ in range(size)]

    def submit(self, work: Work, *arguments: Any) -> futures.Future[Any]:
        """Hand it to the process that has the least to do."""
        self._given = [[t for t in tickets if not t.done()] for tickets in self._given]
        chosen = min(range(self.size), key=lambda i: len(self._given[i]))
        try:
            ticket = self._pools[chosen].submit(_do_here, work, arguments)
        except BrokenProcessPool:
            self._pools[chosen] = self._new_pool()
            ticket = self._pools[chosen].submit(_do_here, work, arguments)
        self._given[chosen].append(ticket)
        return ticket

    def wait(self, tickets: Iterable[Any], timeout_s: float) -> set[Any]:
        """Return the done ones."""
        done, _ = futures.wait(set(tickets), timeout=timeout_s, return_when=futures.FIRST_COMPLETED)
        return done

    def result(self, ticket: Any) -> Any:
        """Return or raise what came of it."""
        try:
            return ticket.result()
        except (BrokenProcessPool, futures.CancelledError) as error:
            raise LostError("a worker process ended: not enough memory?") from error

    def close(self) -> None:
        """End the processes."""
        processes = [p for pool in self._pools for p in (pool._processes or {}).values()]
        for pool in self._pools:
            pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.terminate()
        for process in processes:
            process.join()

    def _new_pool(self) -> futures.ProcessPoolExecutor:
        return futures.ProcessPoolExecutor(
            1,
            mp_context=get_context("spawn"),  # TensorFlow does not survive a fork
            initializer=_begin,
            initargs=(self._problem, os.getpid()),
        )


_here: Problem | None = None


def _begin(problem: Problem, parent: int) -> None:
    """Prepare a process: quiet, the set number of threads, and gone when its parent is."""
    import signal
    import threading
    import time

    global _here
    _here = problem
    os.environ.update(ENVIRONMENT)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    null = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        os.dup2(null, descriptor)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _do_here(work: Work, arguments: tuple[Any, ...]) -> Any:
    assert _here is not None
    return work(_here, *arguments)


class DaskCrew:
    """The workers of a Dask cluster. The problem is sent to each once; a task whose worker dies
    goes to another."""

    def __init__(self, problem: Problem, address: str) -> None:
        try:
            import distributed
        except ImportError:
            raise ToolError(
                "--dask needs the package 'distributed'", hint="pip install 'edgebuild[search]'"
            ) from None
        try:
            self._client = distributed.Client(address, timeout=DASK_TIMEOUT_S)
        except (OSError, ValueError, TimeoutError) as error:
            raise InputError(
                f"no Dask scheduler answers at {address}: {type(error).__name__}",
                hint="start one with: dask scheduler; and workers with: dask worker ADDRESS "
                "--nthreads 1",
            ) from error
        try:
            self._client.wait_for_workers(1, timeout=DASK_TIMEOUT_S)
        except TimeoutError:
            self._client.close()
            raise InputError(
                f"the Dask scheduler at {address} has no workers",
                hint=f"dask worker {address} --nthreads 1",
            ) from None
        self._address = address
        self._pickled = pickle.dumps(problem)
        self._problem = self._send()

    @property
    def size(self) -> int:
        """Workers there are now: they may come and go."""
        self._check_reached()  # without the scheduler, the last answer is given again
        with self._reached():
            return max(1, len(self._client.scheduler_info(n_workers=-1)["workers"]))

    def submit(self, work: Work, *arguments: Any) -> Any:
        """Hand it to the cluster."""
        self._check_reached()
        with self._reached():
            if self._problem.cancelled():  # the connection was lost for a moment
                self._problem = self._send()
            return self._client.submit(
                _do_there, work, self._problem, arguments, pure=False, retries=_DASK_RETRIES
            )

    def wait(self, tickets: Iterable[Any], timeout_s: float) -> set[Any]:
        """Return the done ones."""
        import distributed

        given = list(tickets)
        self._check_reached()
        with self._reached():
            try:
                found = distributed.wait(given, timeout=timeout_s, return_when="FIRST_COMPLETED")
            except (TimeoutError, distributed.TimeoutError):
                return set()
            except futures.CancelledError:
                self._check_reached()
                return {ticket for ticket in given if ticket.done()}
            return set(found.done)

    def result(self, ticket: Any) -> Any:
        """Return or raise what came of it; UnfitWorkerError when a worker or the scheduler cannot
        import what it needs."""
        import distributed

        with self._reached():
            try:
                return ticket.result()
            except (distributed.KilledWorker, futures.CancelledError) as error:
                self._check_reached()
                raise LostError(f"a Dask worker ended: {error}") from error
            except (ImportError, RuntimeError) as error:
                # The scheduler reads what is submitted too, and has this one error for it.
                if isinstance(error, RuntimeError) and "deserialization" not in str(error):
                    raise
                whose = "a worker of " if isinstance(error, ImportError) else ""
                raise UnfitWorkerError(
                    f"{whose}the Dask scheduler at {self._address} does not work: "
                    f"{str(error).splitlines()[0]}",
                    hint="install the same edgebuild for the scheduler and each worker: "
                    "pip install 'edgebuild[search]'",
                ) from error

    def _send(self) -> Any:
        # A task and not scattered data: the scheduler can make it again when its worker dies.
        return self._client.submit(pickle.loads, self._pickled, pure=False)

    @contextmanager
    def _reached(self) -> Iterator[None]:
        """Tell what fails because the scheduler is gone."""
        try:
            yield
        except (EdgebuildError, LostError):
            raise
        except Exception:  # of many kinds: cancelled, closed, no client, a socket's
            self._check_reached()
            raise

    def _check_reached(self) -> None:
        """Raise LostCrewError when the scheduler is gone."""
        if self._client.status != "running":
            raise LostCrewError(
                f"the Dask scheduler at {self._address} has stopped",
                hint="start it and its workers again; the same command goes on, what was tried is "
                "kept",
            )

    def close(self) -> None:
        """Leave the cluster as it was."""
        self._client.close()


def _do_there(work: Work, problem: Problem, arguments: tuple[Any, ...]) -> Any:
    os.environ.update(ENVIRONMENT)
    return work(problem, *arguments)
