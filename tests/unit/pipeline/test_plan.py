"""Plans: what a request resolves to, and what makes a build another build."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys

import pytest

import edgebuild
from edgebuild.budget import Budget
from edgebuild.errors import InputError
from edgebuild.pipeline import BuildRequest, cached_report, make_plan
from edgebuild.pipeline import plan as plan_module
from edgebuild.pipeline.plan import hash_path
from edgebuild.project import Normalization
from edgebuild.toolchain.gcc import GccToolchain
from tests.small import small_model

HEAVY = ("tensorflow", "unicorn", "capstone", "ai_edge_litert", "tflite_micro", "jinja2", "rich")


@pytest.fixture
def request_(tmp_path):
    (tmp_path / "small.tflite").write_bytes(small_model())
    return BuildRequest(tmp_path / "small.tflite", "cortex-m4", out=tmp_path / "out")


def test_a_wrong_limit_of_the_cache_is_told_before_the_work(request_, monkeypatch):
    monkeypatch.setenv("EDGEBUILD_CACHE_LIMIT", "abc")
    with pytest.raises(InputError, match="EDGEBUILD_CACHE_LIMIT: 'abc' is not a size"):
        make_plan(request_)


def test_defaults(request_, tmp_path):
    plan = make_plan(request_)
    assert (plan.name, plan.run, plan.target.name) == ("small", "simulator", "cortex-m4")
    assert plan.out == tmp_path / "out" / "small-cortex-m4"
    # The device's own memory is the weakest budget.
    assert (plan.budget.flash_bytes, plan.budget.ram_bytes) == (1 << 20, 256 << 10)
    stronger = dataclasses.replace(request_, budget=Budget(ram_bytes=1024))
    assert make_plan(stronger).budget == Budget(1 << 20, 1024)
    assert make_plan(dataclasses.replace(request_, target="host")).run == "host"
    assert json.loads(json.dumps(plan.to_json())) == plan.to_json()


@pytest.mark.parametrize(
    "change",
    [
        {"target": "cortex-m7"},
        {"toolchain": "gcc"},
        {"run": "none"},
        {"samples": 9},
        {"calibration_samples": 9},
        {"seed": 1},
        {"trust_model": True},
        {"name": "other"},
        {"budget": Budget(latency_us=1.0)},
        {"data": "random"},
        {"normalization": {"image": Normalization((0.0,), (255.0,))}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_makes_another_build(request_, change):
    assert make_plan(dataclasses.replace(request_, **change)).sha256 != make_plan(request_).sha256


def test_where_it_goes_does_not(request_, tmp_path):
    moved = dataclasses.replace(request_, out=tmp_path / "elsewhere")
    assert make_plan(moved).sha256 == make_plan(request_).sha256
    copy = tmp_path / "sub" / "small.tflite"
    copy.parent.mkdir()
    copy.write_bytes(request_.model.read_bytes())
    assert make_plan(dataclasses.replace(request_, model=copy)).sha256 == make_plan(request_).sha256


def test_contents_do(request_, tmp_path, monkeypatch):
    before = make_plan(request_).sha256
    request_.model.write_bytes(small_model(seed=1))
    changed = make_plan(request_).sha256
    assert changed != before
    monkeypatch.setattr(plan_module, "_source_sha256", lambda: "another edgebuild")
    assert make_plan(request_).sha256 != changed


def test_a_file_that_the_recipe_names_does(request_, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    place = tmp_path / "project"
    place.mkdir()
    recipe = "prune,distill:teacher=big.keras"
    wish = dataclasses.replace(request_, compress=recipe, data_folder=place)
    with pytest.raises(InputError, match=r"project/big\.keras: no such file"):
        make_plan(wish)
    (place / "big.keras").write_bytes(b"one")
    before = make_plan(wish)
    assert before.inputs["distill 2: teacher"] == hash_path(place / "big.keras")
    (place / "big.keras").write_bytes(b"two")
    assert make_plan(wish).sha256 != before.sha256


def test_an_edited_profile_is_another_build(request_, tmp_path):
    profile = tmp_path / "mine.toml"
    plans = []
    for clock in ("8_000_000", "16_000_000"):
        profile.write_text(
            f'schema = 1\nname = "mine"\nbased_on = "cortex-m4"\ncpu.clock_hz = {clock}\n'
        )
        plans.append(make_plan(dataclasses.replace(request_, target=str(profile))))
    assert plans[0].sha256 != plans[1].sha256


def test_data_files_folders_and_entries_are_hashed(request_, tmp_path):
    def plan(data):
        return make_plan(dataclasses.replace(request_, data=data, data_folder=tmp_path)).sha256

    (tmp_path / "x.npy").write_bytes(b"one")
    one = plan("x.npy")
    assert plan("x.npy?scale=0..1") != one
    (tmp_path / "x.npy").write_bytes(b"two")
    assert plan("x.npy") != one
    folder = tmp_path / "images" / "cat"
    folder.mkdir(parents=True)
    (folder / "1.png").write_bytes(b"1")
    images = plan("images")
    (folder / "1.png").rename(folder / "2.png")
    assert plan("images") != images
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg" / "load.py").write_text("x = 1\n")
    entry = plan("pkg.load:images")
    (tmp_path / "pkg" / "load.py").write_text("x = 2\n")
    assert plan("pkg.load:images") != entry
    assert plan("not.there:images") == plan("not.there:images")


def test_a_model_that_cannot_be_read(request_, tmp_path):
    with pytest.raises(InputError, match=r"none\.tflite: no such file"):
        make_plan(dataclasses.replace(request_, model=tmp_path / "none.tflite"))


def test_folders_are_hashed_by_names_and_contents(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name / "sub").mkdir(parents=True)
        (tmp_path / name / "sub" / "f").write_text("1")
    assert hash_path(tmp_path / "a") == hash_path(tmp_path / "b")
    (tmp_path / "b" / "sub" / "f").write_text("2")
    assert hash_path(tmp_path / "a") != hash_path(tmp_path / "b")


def test_a_tool_that_is_absent_is_part_of_the_plan(request_, monkeypatch):
    monkeypatch.setattr(plan_module, "_TOOLS", ("edgebuild", "no-such-package"))
    tools = make_plan(request_).tools
    assert tools["no-such-package"] == "absent" and tools["edgebuild"] != "absent"


def test_an_installed_compiler_is_part_of_the_plan(request_, monkeypatch):
    by_gcc = dataclasses.replace(request_, toolchain="gcc")
    tools = []
    for version in ("gcc 12", "gcc 13"):
        monkeypatch.setattr(GccToolchain, "available", lambda _: True)
        monkeypatch.setattr(GccToolchain, "version", lambda _, v=version: v)
        tools.append(make_plan(by_gcc).tools["gcc"])
    assert tools == ["gcc 12", "gcc 13"]
    monkeypatch.setattr(GccToolchain, "available", lambda _: False)
    assert make_plan(by_gcc).tools["gcc"] == "absent"


def rewritten(path, changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "report.json").unlink(),
        lambda folder: (folder / "build.lock").write_text("{"),
        lambda folder: (folder / "build.lock").write_text("[]"),
        lambda folder: (folder / "report.json").write_text("[]"),
        lambda folder: (folder / "firmware.elf").unlink(),
        lambda folder: rewritten(folder / "build.lock", {"artifacts": {}}),
        lambda folder: rewritten(folder / "report.json", {"name": "another"}),
        lambda folder: ((folder / "report.json").unlink(), os.mkfifo(folder / "report.json")),
        lambda folder: (folder / "lib" / "small.h").write_text(""),
    ],
)
def test_a_damaged_build_is_no_cache_hit(request_, damage):
    fields = {"run": "none", "out": request_.out}
    edgebuild.build(request_.model, target="cortex-m4", **fields)
    plan = make_plan(dataclasses.replace(request_, run="none"))
    assert cached_report(plan) is not None
    damage(plan.out)
    assert cached_report(plan) is None
    assert not edgebuild.build(request_.model, target="cortex-m4", **fields).cached
    assert edgebuild.build(request_.model, target="cortex-m4", **fields).cached


def test_a_cache_hit_imports_nothing_heavy(request_):
    edgebuild.build(request_.model, target="cortex-m4", out=request_.out, run="none")
    program = (
        "import sys, edgebuild\n"
        f"r = edgebuild.build({str(request_.model)!r}, target='cortex-m4', run='none',"
        f" out=__import__('pathlib').Path({str(request_.out)!r}))\n"
        "assert r.cached\n"
        f"print([m for m in {HEAVY!r} if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr
