"""Programs that write too much or do not end; how tools fail is in test_compiler.py."""

import pytest

from edgebuild.errors import ToolError
from edgebuild.toolchain.process import MAX_OUTPUT_BYTES, OutputLimitError, run_limited


def run(script, **options):
    command = ["sh", "-c", script]
    return run_limited(command, what="trying", timeout_s=20, missing_hint="", **options)


def test_output_is_kept_to_the_byte():
    finished = run(r"printf '\377\0a'; echo said >&2; exit 3", max_output_bytes=3)
    assert (finished.returncode, finished.stdout, finished.errors) == (3, b"\xff\0a", "said\n")
    assert finished.output == "\ufffd\0a"


@pytest.mark.parametrize("script", ["echo abcd", "yes", "yes & wait"])
def test_a_program_that_writes_more_than_it_may(script):
    with pytest.raises(OutputLimitError, match="sh wrote more than 4 B while trying"):
        run(script, max_output_bytes=4)


def test_errors_are_limited_too():
    with pytest.raises(OutputLimitError, match=f"wrote more than {MAX_OUTPUT_BYTES:,} B"):
        run("yes >&2", max_output_bytes=4)


def test_without_a_limit_the_rest_is_left_out():
    finished = run(f"head -c {MAX_OUTPUT_BYTES + 1} /dev/zero")
    assert (finished.returncode, len(finished.stdout)) == (0, MAX_OUTPUT_BYTES)


@pytest.mark.parametrize("content", [b"", b"\x7fELF"])
def test_a_compiler_that_cannot_be_started(tmp_path, content):
    broken = tmp_path / "zig"
    broken.write_bytes(content)
    broken.chmod(0o644 if not content else 0o755)
    with pytest.raises(ToolError, match="zig cannot be started: ") as error:
        run_limited([str(broken)], what="trying", timeout_s=20, missing_hint="pip install ziglang")
    assert error.value.exit_code == 3
    assert error.value.hint == "pip install ziglang"
