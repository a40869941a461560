"""The simulator: right outputs, exact counts, explained faults."""

import os
import re
import shutil
import signal
import subprocess
import time
from threading import Timer

import numpy as np
import pytest

from edgebuild.devices.simulator import Region, Simulator
from edgebuild.devices.simulator.cycles import TIMINGS, Decoder
from edgebuild.devices.simulator.trace import BlockTrace
from edgebuild.errors import ToolError
from edgebuild.figures import How
from tests.unit.toy import REGIONS, toy_image, toy_reference

CORES = ["cortex-m0", "cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33"]


def sample(seed):
    if seed < 0:
        # Exactly what MAIN writes.
        return bytes((3 * i) & 0xFF for i in range(64))
    return np.random.default_rng(seed).integers(0, 256, 64, dtype=np.uint8).tobytes()


def signed(content):
    return np.frombuffer(content, np.int8).tolist()


@pytest.mark.parametrize("core", CORES)
def test_outputs_and_figures(core, tmp_path):
    image = toy_image(tmp_path, core)
    samples = [(sample(n),) for n in range(3)]
    result = Simulator(image, core, REGIONS, 100_000_000).run(samples)
    assert [signed(o[0]) for o in result.outputs] == [toy_reference(signed(s[0])) for s in samples]
    assert result.device == f"simulated {core}"
    assert result.instructions.how == How.MEASURED
    assert result.cycles.how == result.latency_us.how == How.MODELLED
    assert core in result.cycles.source
    assert result.latency_us.value == pytest.approx(result.cycles.value / 100)
    assert [layer.layer for layer in result.layers] == [0, 1]
    inside = sum(layer.instructions for layer in result.layers)
    assert 0 < result.instructions.value - inside < 30  # the way out of run()
    assert 64 < result.stack_bytes.value < 1024
    assert 64 < result.arena_bytes.value <= 192


def test_the_hook_costs_nothing(tmp_path):
    """Profiled and plain firmware differ by the call sites only: two instructions a layer."""
    counts = {}
    for profile in (True, False):
        image = toy_image(tmp_path / str(profile), "cortex-m4", profile=profile)
        simulator = Simulator(image, "cortex-m4", REGIONS)
        result = simulator.run([(sample(0),)])
        counts[profile] = int(result.instructions.value)
        assert result.latency_us is None
        hook = simulator.raw_instructions - counts[profile]
        assert hook > 10 if profile else hook == 0
        assert len(result.layers) == (2 if profile else 0)
    assert 0 <= counts[True] - counts[False] <= 8


def fault(tmp_path, extra, core="cortex-m4", regions=REGIONS):
    image = toy_image(tmp_path, core, extra=extra)
    with pytest.raises(ToolError) as caught:
        Simulator(image, core, regions).run([(sample(0),)])
    return caught.value.message


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ("*(volatile int *)0x50000000 = 1;", "writes 4 B at 0x50000000, outside the target's"),
        ("(void)*(volatile char *)0x50000001;", "reads 1 B at 0x50000001, outside the target's"),
        ("*(volatile int *)0x100 = 1;", "writes to flash: 4 B at 0x00000100"),
        ("((void (*)(void))0x50000001)();", "jumps to 0x50000000, outside the target's memory"),
        ('__asm volatile("udf #0");', "the simulated core stopped"),
    ],
)
def test_faults_name_address_and_function(extra, words, tmp_path):
    message = fault(tmp_path, extra)
    assert words in message
    if "jumps" not in words:
        assert re.search(r"at 0x[0-9a-f]{8} in toy_run \+ 0x", message)


def test_stack_overflow_is_an_error(tmp_path):
    extra = "{ volatile char big[5000]; for (int i = 0; i < 5000; i++) big[i] = 1; }"
    assert re.search(
        r"stack overflows: it takes 5,\d+ B, reserved are 4,096 B", fault(tmp_path, extra)
    )


def test_negative_status_is_an_error(tmp_path):
    assert "run returned" in fault(tmp_path, "return -1;")


def test_endless_model_ends(tmp_path, monkeypatch):
    monkeypatch.setattr("edgebuild.devices.simulator.device._MAX_BLOCKS", 100_000)
    assert "ran more than 100,000 blocks" in fault(tmp_path, "for (volatile int i = 0;;) i++;")


def test_time_out(tmp_path, monkeypatch):
    monkeypatch.setattr("edgebuild.devices.simulator.device._TIMEOUT_S", 1.0)
    message = fault(tmp_path, "for (volatile int i = 0;;) i++;")
    assert "did not end in 1 s" in message and "in toy_run" in message


def test_memory_outside_the_profile_does_not_exist(tmp_path):
    small = (REGIONS[0], Region("ram", 0x2000_0000, 64 << 10, "ram"))
    assert "outside the target's memory" in fault(tmp_path, "", regions=small)


def test_regions_that_share_a_page(tmp_path):
    image = toy_image(tmp_path, "cortex-m4")
    flash, ram = REGIONS
    half = Region("ram", ram.origin, 0x1800, "ram")
    rest = Region("rest", ram.origin + 0x1800, ram.size - 0x1800, "ram")
    close = (flash._replace(size=0x40_0800), half, rest, Region("boot", 0x40_0800, 64, "flash"))
    result = Simulator(image, "cortex-m4", close).run([(sample(0),)])
    assert signed(result.outputs[0][0]) == toy_reference(signed(sample(0)))


def test_helium_goes_to_qemu(tmp_path):
    image = toy_image(tmp_path, "cortex-m55")
    with pytest.raises(ToolError, match="Helium") as caught:
        Simulator(image, "cortex-m55", REGIONS)
    assert "--run qemu" in caught.value.hint


def test_samples_are_checked(tmp_path):
    simulator = Simulator(toy_image(tmp_path, "cortex-m4"), "cortex-m4", REGIONS)
    with pytest.raises(ToolError, match="no sample"):
        simulator.run([])
    with pytest.raises(ToolError, match="an input has 3 B, the model takes 64 B"):
        simulator.run([(b"abc",)])


@pytest.mark.qemu
@pytest.mark.skipif(not shutil.which("qemu-system-arm"), reason="no qemu-system-arm")
@pytest.mark.parametrize("optimize", ["-O1", "-O2"])
@pytest.mark.parametrize(
    ("core", "machine"),
    [("cortex-m3", "mps2-an385"), ("cortex-m4", "mps2-an386"), ("cortex-m7", "mps2-an500")],
)
def test_count_is_qemus(core, machine, optimize, tmp_path):
    """QEMU logs every single instruction of the same ELF; MAIN exits with 0 when all is well."""
    image = toy_image(tmp_path, core, optimize=optimize)
    simulator = Simulator(image, core, REGIONS)
    simulator.run([(sample(-1),)])
    log = tmp_path / "log"
    command = ["qemu-system-arm", "-M", machine, "-nographic", "-monitor", "none"]
    command += ["-serial", "none", "-singlestep", "-d", "exec,nochain", "-D", str(log)]
    command += ["-semihosting-config", "enable=on,target=native", "-kernel", str(image.elf)]
    assert subprocess.run(command, timeout=120).returncode == 0
    pcs = [int(pc, 16) for pc in re.findall(r"Trace \d+: \S+ \[\w+/(\w+)/", log.read_text())]
    main = image.symbol("main")
    start = pcs.index(image.symbol("toy_run").address)
    inside = range(main.address, main.address + main.size)
    end = next(i for i in range(start, len(pcs)) if pcs[i] in inside)
    assert simulator.raw_instructions == end - start > 50_000


def thumb(*halfwords):
    return b"".join(h.to_bytes(2, "little") for h in halfwords)


LDR, STR, NOP, BX_LR, BEQ = 0x6808, 0x6008, 0xBF00, 0x4770, 0xD0FE
PUSH_3, POP_PC_3 = 0xB570, 0xBDB0  # push {r4-r6, lr} is four; pop {r4, r5, r7, pc} is four
SDIV, SMULL, LDRD = (0xFB90, 0xF0F1), (0xFB82, 0x0103), (0xE9D0, 0x1200)


@pytest.mark.parametrize(
    ("core", "code", "instructions", "not_taken", "taken"),
    [
        ("cortex-m4", thumb(NOP, NOP), 2, 2, None),
        ("cortex-m4", thumb(LDR, NOP), 2, 3, None),
        ("cortex-m4", thumb(LDR, LDR, NOP), 3, 4, None),
        ("cortex-m0plus", thumb(LDR, LDR, NOP), 3, 5, None),
        ("cortex-m4", thumb(STR, NOP), 2, 2, None),
        ("cortex-m0plus", thumb(STR, NOP), 2, 3, None),
        ("cortex-m4", thumb(NOP, BEQ), 2, 2, 4),
        ("cortex-m0plus", thumb(NOP, BEQ), 2, 2, 3),
        ("cortex-m0", thumb(NOP, BEQ), 2, 2, 4),
        ("cortex-m4", thumb(PUSH_3), 1, 5, None),
        ("cortex-m4", thumb(POP_PC_3), 1, 5, 7),
        ("cortex-m0plus", thumb(POP_PC_3), 1, 5, 7),
        ("cortex-m0", thumb(POP_PC_3), 1, 5, 8),
        ("cortex-m4", thumb(*SDIV), 1, 7, None),
        ("cortex-m4", thumb(*SMULL), 1, 1, None),
        ("cortex-m3", thumb(*SMULL), 1, 4, None),
        ("cortex-m4", thumb(*LDRD), 1, 3, None),
        ("cortex-m7", thumb(0x1C49, 0x1C52), 2, 1, None),  # adds r1, #1; adds r2, #1
        ("cortex-m7", thumb(LDR, LDR), 2, 2, None),
        ("cortex-m4", thumb(0xEE80, 0x0A20), 1, 14, None),  # vdiv.f32 s0, s0, s1
        ("cortex-m4", thumb(0xDE00), 1, 1, None),
    ],
)
def test_cycles_of_a_block(core, code, instructions, not_taken, taken):
    cost = Decoder(core).cost(code)
    assert (cost.instructions, cost.not_taken) == (instructions, not_taken)
    if taken is not None:
        assert cost.taken == taken


def test_unknown_instructions_count_one_each():
    # A coprocessor word that no core here has, between two NOPs.
    cost = Decoder("cortex-m4").cost(thumb(NOP, 0xFFFF, 0xFFFF, NOP))
    assert cost.instructions == 3


def test_every_timing_has_a_core_in_its_name():
    assert all(timing.name.startswith(core) for core, timing in TIMINGS.items())


def test_trace_splits_at_the_hook():
    trace = BlockTrace(hook_address=0x100, max_blocks=1000)
    block = trace.on_block()
    block(None, 0x10, 4, None)
    trace.layer_done(5, 0x21)
    block(None, 0x100, 8, None)  # hook
    block(None, 0x110, 2, None)  # still hook
    block(None, 0x20, 4, None)
    block(None, 0x24, 4, None)
    trace.finish()
    first, rest = trace.segments
    assert first.layer == 5 and rest.layer is None
    assert [(b.address, b.size, b.taken, n) for b, n in first.blocks()] == [(0x10, 4, True, 1)]
    assert {(b.address, b.taken) for b, _ in rest.blocks()} == {(0x20, False), (0x24, True)}
    assert sum(trace.hook.counts.values()) == 2 and trace.total_blocks == 5


def test_trace_is_the_same_in_small_chunks(monkeypatch):
    def run(chunk):
        monkeypatch.setattr("edgebuild.devices.simulator.trace._CHUNK", chunk)
        trace = BlockTrace(hook_address=0x100, max_blocks=1000)
        block = trace.on_block()
        for layer in range(3):
            for _ in range(4 + layer):
                block(None, 0x10, 4, None)
            trace.layer_done(layer, 0x21)
            block(None, 0x100, 8, None)
            block(None, 0x20, 4, None)
        trace.finish()
        return [(s.layer, dict(s.counts)) for s in (*trace.segments, trace.hook)]

    assert run(1) == run(2) == run(5) == run(1 << 20)


@pytest.mark.parametrize("delay_s", [0.2, 0.3, 0.4])
def test_ctrl_c_ends_a_counted_run(delay_s, tmp_path):
    image = toy_image(tmp_path, "cortex-m4", extra="for (volatile int i = 0;;) i++;")
    simulator = Simulator(image, "cortex-m4", REGIONS)
    Timer(delay_s, os.kill, (os.getpid(), signal.SIGINT)).start()
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        simulator.run([(sample(0),)])
    assert time.monotonic() - start < 5
