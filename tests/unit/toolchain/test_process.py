"""Programs that write too much or do not end; how tools fail is in test_compiler.py."""

import pytest

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
