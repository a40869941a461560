"""How often the parts of a kernel run: the terms whose weighted sum is its number of cycles."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np

WORD = 4
_FOURS, _ENTRIES = ": fours", ": four or more"


def loop_rounds(counts: Mapping[str, float]) -> dict[str, float]:
    """Return how many rounds of four an entry of each loop runs on average, where it runs any."""
    return {
        part.removesuffix(_FOURS): count / counts[part.removesuffix(_FOURS) + _ENTRIES]
        for part, count in counts.items()
        if part.endswith(_FOURS)
    }


class Work:
    """Counts by name, e.g. ``{"pixel": 64.0, "depth / 4": 1152.0}``.

    Compilers unroll short loops four times and run what is left over, one to three times, before:
    ``loop`` counts what such code does, which includes a loop that was left alone.
    """

    def __init__(self) -> None:
        self._counts: defaultdict[str, float] = defaultdict(float)
        self._counts["call"] = 1.0
        self._pieces: defaultdict[str, float] = defaultdict(float)
        self._entries: dict[str, float] = {}
        self._phases: dict[str, str] = {}
        self._phase = ""

    @property
    def counts(self) -> Mapping[str, float]:
        """The counts so far; ``call`` is always 1."""
        return self._counts

    @property
    def runs(self) -> Mapping[str, float]:
        """How often pieces of code run: the counts, and what says no more of cycles: the copies of
        unrolled loops, and what the forms of a part have in common."""
        return {**self._counts, **self._pieces}

    @property
    def phases(self) -> Mapping[str, str]:
        """The phase of each part that is in one."""
        return self._phases

    @property
    def entries(self) -> Mapping[str, float]:
        """How often the kernel comes to each phase from another one."""
        return self._entries

    def __add__(self, other: Work) -> Work:
        """Return the work of both, as of two calls of a kernel."""
        both = Work()
        for one in (self, other):
            for part, count in one.counts.items():
                both._counts[part] += count
            for part, count in one._pieces.items():
                both._pieces[part] += count
            for phase, entries in one.entries.items():
                both._entries[phase] = both._entries.get(phase, 0.0) + entries
            both._phases |= one.phases
        both._counts["call"] -= 1
        return both

    @contextmanager
    def phase(self, name: str, entries: float) -> Iterator[None]:
        """Put what is counted inside into a phase, which is entered ``entries`` times.

        Phases take turns, as filling a column and multiplying it do, rather than lie in each other:
        code of one may drive that of the other out of a small cache.
        """
        self._entries[name] = self._entries.get(name, 0.0) + entries
        self._phase, before = name, self._phase
        try:
            yield
        finally:
            self._phase = before

    def _count(self, part: str, count: float) -> None:
        self._counts[part] += count
        if self._phase:
            self._phases[part] = self._phase

    def _code(self, part: str, count: float) -> None:
        self._pieces[part] += count
        if self._phase:
            self._phases[part] = self._phase

    def add(self, name: str, count: float, kind: str = "") -> None:
        """Count a part that runs ``count`` times; ``kind``: in which of its forms, which share some
        of their code."""
        if not count:
            return
        self._count(f"{name}, {kind}" if kind else name, count)
        if kind:
            self._code(name, count)

    def loop(self, name: str, length: int, entries: float = 1.0) -> None:
        """Count a loop that is entered ``entries`` times and runs ``length`` times each."""
        if entries <= 0:
            return
        self._count(name, entries)
        if length <= 0:
            return
        fours, left = divmod(length, 4)
        if fours:
            self._count(name + _ENTRIES, entries)
            self._count(name + _FOURS, entries * fours)
        if left:
            self._count(f"{name}: {left} left", entries)

    def unrolled(self, name: str, copies: int, length: int, entries: float = 1.0) -> None:
        """Count a loop of ``length`` steps that is unrolled to ``copies`` of them.

        Each of ``entries`` jumps in where whole turns are left, so the last copies run most.
        """
        self.add(name, entries * length)
        self.add(f"{name}: turn", entries * -(-length // copies))
        for copy in range(1, min(copies, length)):
            turns = -(-(length - copy) // copies)
            self._code(f"{name}: copy {copy + 1} from the end", entries * turns)

    def loops(self, name: str, lengths: np.ndarray, entries: float = 1.0) -> None:
        """Count a loop for each of ``lengths`` (any shape), each entered ``entries`` times."""
        for length, times in zip(*np.unique(lengths, return_counts=True), strict=True):
            self.loop(name, int(length), entries * int(times))

    def copies(
        self, name: str, length: int, to: np.ndarray, source: np.ndarray, entries: float = 1.0
    ) -> None:
        """Count calls of ``memcpy`` with ``length`` bytes, one for each pair of addresses.

        Follows ``copy_up`` of ``firmware/startup/libc.c``: words where both addresses have the same
        remainder, and at least two of them.
        """
        if length < 2 * WORD:
            self._bytes(name, length, entries * np.broadcast(to, source).size)
            return
        phases = (to % WORD) * WORD + source % WORD
        for phase, times in enumerate(np.bincount(np.ravel(phases), minlength=1).tolist()):
            head, other = divmod(phase, WORD)
            if not times:
                continue
            if head == other:
                self._words(f"{name} words", length, head, entries * times)
            else:
                self._bytes(name, length, entries * times)

    def fills(self, name: str, length: int, to: np.ndarray, entries: float = 1.0) -> None:
        """Count calls of ``memset`` with ``length`` bytes, one for each address."""
        if length < 2 * WORD:
            self._bytes(name, length, entries * np.size(to))
            return
        heads = np.bincount(np.ravel(to % WORD), minlength=WORD).tolist()
        for head, times in enumerate(heads):
            if times:
                self._words(f"{name} words", length, head, entries * times)

    def _bytes(self, name: str, length: int, calls: float) -> None:
        self.loop(f"{name} bytes", length, calls)

    def _words(self, name: str, length: int, head: int, calls: float) -> None:
        before = -head % WORD
        words, tail = divmod(length - before, WORD)
        self.add(name, calls)
        self.add(f"{name}: {before} before", calls * bool(before))
        self.loop(f"{name}, sixteen bytes", words // WORD, calls)
        self.add(f"{name}: {words % WORD} left", calls * bool(words % WORD))
        self.add(f"{name}: {tail} behind", calls * bool(tail))
