"""The Gradle plug-in runs the real edgebuild; build files are compiled against their DSL's types.

Debian's Gradle is 4.4.1, far older than the Android plugin needs: the plug-in keeps to what both
have, and what needs the Android plugin itself is only compiled.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from edgebuild.codegen.android import (
    VARIANTS,
    AndroidSettings,
    android_module,
    interface_of,
    native_module,
)
from edgebuild.tflite.writer import write_tflite
from tests.android_models import digits_graph
from tests.kotlin_tools import ROOT, kotlin_lib, kotlinc, run
from tests.small import small_graph

pytestmark = [pytest.mark.android, pytest.mark.slow]

EXAMPLE = ROOT / "examples" / "android"
PLUGIN_SOURCES = EXAMPLE / "edgebuild-gradle" / "src"
DSL = ROOT / "tests" / "integration" / "android" / "gradle_dsl"

BUILD = """
apply plugin: dev.edgebuild.gradle.EdgebuildPlugin
edgebuildModel {{
    model = file("net.tflite")
    target = "{target}"
    options = [{options}]
    command = [{command}]
}}
"""


def gradle_jars() -> str:
    """Return the class path of Gradle's API; skips where there is no Debian Gradle."""
    jars = [*Path("/usr/share/gradle/lib").rglob("*.jar")]
    if not shutil.which("gradle") or not jars:
        pytest.skip("no Gradle (scripts/android-tools.sh)")
    jars += [Path("/usr/share/java") / f"{name}.jar" for name in ("groovy-all", "slf4j-api")]
    return ":".join(str(jar) for jar in sorted(jars))


class GradleProject:
    """A project whose only plug-in is edgebuild's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "gradle-home"
        (folder / "settings.gradle").write_text("")
        shutil.copytree(PLUGIN_SOURCES, folder / "buildSrc" / "src")
        self.set_model(1)
        self.configure()

    def set_model(self, seed: int) -> None:
        (self.folder / "net.tflite").write_bytes(write_tflite(small_graph(seed=seed)))

    def configure(self, target="host", options=("--run", "none"), command=None) -> None:
        command = command or (sys.executable, "-m", "edgebuild")
        quoted = [", ".join(f'"{word}"' for word in words) for words in (options, command)]
        text = BUILD.format(target=target, options=quoted[0], command=quoted[1])
        (self.folder / "build.gradle").write_text(text)

    def build(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        environment["GRADLE_USER_HOME"] = str(self.home)
        return subprocess.run(
            ["gradle", "--offline", "--no-daemon", *arguments, "edgebuildModel"],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )

    def built(self, *arguments: str) -> str:
        """Return how the task ended: executed, UP-TO-DATE or FROM-CACHE."""
        done = self.build(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        (line,) = re.findall(r"^:edgebuildModel *(.*)$", done.stdout, re.MULTILINE)
        return line or "executed"

    def refused(self) -> str:
        done = self.build()
        assert done.returncode != 0, done.stdout
        return done.stderr

    @property
    def output(self) -> Path:
        return self.folder / "build" / "edgebuild" / "edgebuildModel"


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> GradleProject:
    gradle_jars()
    return GradleProject(tmp_path_factory.mktemp("gradle"))


def test_it_builds_and_then_is_up_to_date(project):
    assert project.built() == "executed"
    shipped = project.output / "assets" / "net.tflite"
    assert shipped.read_bytes() == (project.folder / "net.tflite").read_bytes()
    assert '"target"' in (project.output / "report.json").read_text()
    assert project.built() == "UP-TO-DATE"


def test_a_changed_model_builds_again_and_an_old_one_comes_from_the_cache(project):
    assert project.built("--build-cache", "--rerun-tasks") == "executed"
    project.set_model(2)
    assert project.built("--build-cache") == "executed"
    shipped = project.output / "assets" / "net.tflite"
    assert shipped.read_bytes() == (project.folder / "net.tflite").read_bytes()
    project.set_model(1)
    assert project.built("--build-cache") == "FROM-CACHE"
    assert shipped.read_bytes() == (project.folder / "net.tflite").read_bytes()


def test_another_version_of_edgebuild_builds_again(project):
    project.built()
    newer = project.folder / "newer-edgebuild"
    newer.write_text(
        f'#!/bin/sh\n[ "$1" = --version ] && echo "edgebuild 99" && exit\n'
        f'exec {sys.executable} -m edgebuild "$@"\n'
    )
    newer.chmod(0o755)
    project.configure(command=(newer,))
    assert project.built() == "executed"
    project.configure()
    assert project.built() == "executed"


def test_an_android_target_brings_the_wrapper(project):
    project.configure(target="android-cpu")
    assert project.built() == "executed"
    assert (project.output / "assets" / "net.tflite").is_file()
    assert (project.output / "kotlin" / "dev" / "edgebuild" / "net" / "Net.kt").is_file()
    assert "-keep" in (project.output / "consumer-rules.pro").read_text()
    project.configure()


def test_a_missed_budget_fails_with_edgebuild_s_message(project):
    project.configure(target="cortex-m4", options=("--run", "none", "--max-ram", "1KiB"))
    message = project.refused()
    assert "edgebuild build failed with exit code 1" in message
    assert "error: net for cortex-m4: RAM budget missed by" in message
    assert "try: " in message
    project.configure()


def test_an_unknown_target_fails_with_edgebuild_s_message(project):
    project.configure(target="hots")
    message = project.refused()
    assert "failed with exit code 2" in message
    assert "did you mean 'host'?" in message
    project.configure()


def test_a_missing_edgebuild_is_told(project):
    project.configure(command=("/nowhere/edgebuild",))
    message = project.refused()
    assert "cannot start /nowhere/edgebuild" in message
    assert "pip install edgebuild" in message
    project.configure()


def test_the_plug_in_builds_as_a_build_of_its_own(project, tmp_path):
    shutil.copytree(EXAMPLE / "edgebuild-gradle", tmp_path / "plugin")
    run(
        ["gradle", "--offline", "--no-daemon", "jar", "pluginDescriptors"],
        cwd=tmp_path / "plugin",
        env={**os.environ, "GRADLE_USER_HOME": str(project.home)},
    )
    with zipfile.ZipFile(tmp_path / "plugin" / "build" / "libs" / "edgebuild-gradle.jar") as jar:
        descriptor = jar.read("META-INF/gradle-plugins/dev.edgebuild.properties").decode()
        assert "implementation-class=dev.edgebuild.gradle.EdgebuildPlugin" in descriptor
        assert "dev/edgebuild/gradle/EdgebuildTask.class" in jar.namelist()


def test_build_files_compile_against_the_dsl(tmp_path):
    """Names and types of all build files, generated and of the example, by Kotlin's compiler."""
    lib, jars = kotlin_lib(), gradle_jars()
    classes = tmp_path / "classes"
    run(["javac", "-proc:none", "-cp", jars, "-d", classes, *PLUGIN_SOURCES.rglob("*.java")])
    scripts = {path: path.read_text() for path in sorted(EXAMPLE.rglob("*.gradle.kts"))}
    variants = [v for v in VARIANTS if v[0] != "native"]
    for delegate, api in variants:
        for plugin in (8, 9):
            settings = AndroidSettings(
                delegate, 31, api=api, vendor="google", android_gradle_plugin=plugin
            )
            files = android_module(interface_of(digits_graph(), "m"), settings)
            scripts[Path(f"{delegate}-{api}-{plugin}")] = files["build.gradle.kts"]
    model = interface_of(digits_graph(), "m")
    native = native_module(model, AndroidSettings("native", 24), {"m.h": "", "m.c": ""})
    scripts[Path("native")] = native["build.gradle.kts"]
    assert len(scripts) == 3 + 2 * len(variants) + 1
    sources = [*DSL.glob("*.kt")]
    for number, (path, text) in enumerate(scripts.items()):
        receiver = "Settings" if path.name.startswith("settings") else "Project"
        source = tmp_path / f"Script{number}.kt"
        source.write_text(f"package dsl\n\nfun {receiver}.script{number}() {{\n{text}\n}}\n")
        sources.append(source)
    kotlinc(lib, f"{classes}:{jars}", classes, sources)
