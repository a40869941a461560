"""What all compilers share: sources to objects, in parallel and through the object cache."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from edgebuild.errors import InternalError
from edgebuild.files import TemporaryFolder, explained
from edgebuild.toolchain.base import CompileJob, Progress
from edgebuild.toolchain.cache import ObjectCache, cache_key
from edgebuild.toolchain.process import run_tool

WARNINGS = ("-std=c11", "-Wall", "-Wextra", "-Werror", "-Wconversion")
# Without -ffp-contract=off a core with a fused multiply-add would round otherwise than the oracle.
COMMON = (*WARNINGS, "-ffp-contract=off", "-g0")
_INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*"([^"\n]+)"', re.MULTILINE)


@dataclass(frozen=True)
class Compiler:
    """One way to turn C into objects: the program, its version and its flags.

    ``version`` names the compiler and is part of each cache key.
    """

    command: tuple[str, ...]
    version: str
    flags: tuple[str, ...]
    missing_hint: str
    env: Mapping[str, str] = field(default_factory=dict)

    def run(self, arguments: Sequence[str], *, what: str, cwd: Path) -> str:
        """Run the compiler's program in ``cwd``."""
        return run_tool(
            [*self.command, *arguments],
            what=what,
            missing_hint=self.missing_hint,
            cwd=cwd,
            env=self.env,
        )


@dataclass(frozen=True)
class Source:
    """One translation unit of a job and its key in the cache."""

    path: str
    flags: tuple[str, ...]
    key: str


@contextmanager
def work_folder() -> Iterator[Path]:
    """Yield a temporary folder; a full disk or a missing permission is explained."""
    with TemporaryFolder("work") as folder:
        yield folder


def compile_objects(
    compiler: Compiler,
    job: CompileJob,
    folder: Path,
    progress: Progress,
    extra_flags: Mapping[str, tuple[str, ...]] | None = None,
) -> list[str]:
    """Compile every ``.c`` of ``job`` in ``folder``; return the objects' paths relative to it.

    ``extra_flags`` adds flags to single sources. Objects do not depend on where ``folder`` is.
    """
    cache = ObjectCache.default()
    sources = _sources(compiler, job, extra_flags or {})
    cached = {source.path: cache.get(source.key) for source in sources}
    missing = [source for source in sources if cached[source.path] is None]
    if missing:
        _write_tree(job, folder)
        noun = "file" if len(missing) == 1 else "files"
        progress(f"compiling {len(missing)} {noun}")
        _compile(compiler, missing, folder, cache)
    with explained(folder):
        for source in sources:
            content = cached[source.path]
            if content is not None:
                target = folder / object_path(source.path)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content)
    return [object_path(source.path) for source in sources]


def object_path(source: str) -> str:
    """Return where the object of ``source`` goes: ``a/b.c`` -> ``obj/a/b.o``."""
    return f"obj/{source[:-2]}.o"


def _compile(
    compiler: Compiler, sources: Sequence[Source], folder: Path, cache: ObjectCache
) -> None:
    def compile_one(source: Source) -> None:
        target = folder / object_path(source.path)
        with explained(folder):
            target.parent.mkdir(parents=True, exist_ok=True)
        arguments = [*source.flags, f"-ffile-prefix-map={folder}=.", "-c", source.path]
        compiler.run(
            [*arguments, "-o", object_path(source.path)],
            what=f"compiling {source.path}",
            cwd=folder,
        )
        cache.put(source.key, target.read_bytes())

    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        tasks = [pool.submit(compile_one, source) for source in sources]
        try:
            for task in tasks:
                task.result()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _sources(
    compiler: Compiler, job: CompileJob, extra_flags: Mapping[str, tuple[str, ...]]
) -> list[Source]:
    defines = [f"-D{k}={v}" if v else f"-D{k}" for k, v in sorted(job.defines.items())]
    includes = [f"-I{folder}" for folder in job.include_dirs]
    flags = (*compiler.flags, job.optimize, *defines, *includes)
    result = []
    for path in sorted(job.sources):
        _check_path(path)
        if path.endswith(".c"):
            own = (*flags, *extra_flags.get(path, ()))
            texts = [part for name in _closure(job, path) for part in (name, job.sources[name])]
            key = cache_key([compiler.version, *own, path, *texts])
            result.append(Source(path, own, key))
    return result


def _closure(job: CompileJob, path: str) -> list[str]:
    """Return ``path`` and the files of the job that it includes, directly or not.

    An include that several folders could answer brings in all of them: that costs at most a miss.
    """
    seen = {path}
    pending = [path]
    while pending:
        current = pending.pop()
        folders = [posixpath.dirname(current), *job.include_dirs]
        for name in _INCLUDE.findall(job.sources[current]):
            for folder in folders:
                candidate = posixpath.normpath(posixpath.join(folder, name))
                if candidate in job.sources and candidate not in seen:
                    seen.add(candidate)
                    pending.append(candidate)
    return sorted(seen)


def _check_path(path: str) -> None:
    if posixpath.isabs(path) or ".." in path.split("/") or posixpath.normpath(path) != path:
        raise InternalError(f"source path '{path}' is not a plain relative path")


def _write_tree(job: CompileJob, folder: Path) -> None:
    with explained(folder):
        for path, text in job.sources.items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
