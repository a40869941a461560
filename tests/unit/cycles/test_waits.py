"""What a core waits for its memory."""

import dataclasses
import itertools

import pytest

from edgebuild.cycles.code import CodePart, CodeRuns
from edgebuild.cycles.traffic import Reads
from edgebuild.cycles.waits import NO_WAITS, Layer, MemoryModel, Waits, latency_figures, layer_waits
from edgebuild.figures import How
from edgebuild.passes import DEFAULT_PASSES, run_passes
from edgebuild.profile import Cpu, Optimize
from edgebuild.regions import Access, Cache, Memory, placement_of
from edgebuild.targets import load_target

CPU = Cpu("cortex-m4", 100_000_000)
RAM = Memory("ram", "ram", 0x2000_0000, 1 << 20)


def flash(**access):
    return Memory("flash", "flash", 0, 1 << 20, access=Access(**access))


def waits(layers, *memories, cpu=CPU, place=None):
    placement = placement_of(memories, place or {})
    return layer_waits(layers, MemoryModel(placement, cpu))[1]


def code(*runs, fetched=0.0, jumps=0.0, literals=0.0, accesses=0.0):
    """Code of (bytes, times), one behind the other from the start of a line on."""
    starts = itertools.accumulate((size for size, _ in runs), initial=0)
    places = zip(starts, runs, strict=False)
    parts = tuple(CodePart(start, size, times, "", 0) for start, (size, times) in places)
    return CodeRuns(parts, fetched, jumps, literals, accesses)


def lines(size):
    """Lines of 16 bytes that code of ``size`` bytes touches on average."""
    return (size + 14) / 16


def reading(*reads, accesses=0.0):
    """A layer that runs from RAM and reads."""
    return Layer({RAM: code(accesses=accesses)}, reads, 1000.0)


def test_memory_as_fast_as_the_core_waits_for_nothing():
    layer = Layer({}, (Reads("weights", 1000), Reads("arena", 1000)), 100.0)
    plain = Memory("flash", "flash", 0, 1 << 20)
    assert waits([layer], plain, RAM) == waits([layer], flash(), RAM) == NO_WAITS
    assert MemoryModel(placement_of([plain, RAM], {}), CPU).slow == ()


def test_each_load_waits_where_nothing_is_cached():
    words = reading(Reads("weights", 400, passes=3))
    assert waits([words], flash(wait_states=5), RAM) == Waits(1500, 1500)
    # A line of 16 bytes that stays until another is read: at best one wait for four loads.
    assert waits([words], flash(wait_states=5, line_bytes=16), RAM) == Waits(375, 1500)
    bounded = flash(wait_states=5, wait_states_max=9)
    assert waits([words], bounded, RAM) == Waits(1500, 2700)


def test_a_stream_larger_than_the_cache_is_missed_in_every_pass():
    slow = flash(wait_states=20, line_bytes=8, cache=Cache(1024, 8, 2))
    once, thrice = (reading(Reads("weights", 4000, passes=n)) for n in (1, 3))
    assert waits([once], slow, RAM) == Waits(500 * 20, 500 * 20)
    assert waits([thrice], slow, RAM) == Waits(1500 * 20, 1500 * 20)


def test_what_stays_in_the_cache_from_one_inference_to_the_next_waits_for_nothing():
    slow = flash(wait_states=20, line_bytes=8, cache=Cache(1024, 8, 2))
    small = reading(Reads("weights", 400, passes=9))
    assert waits([small], slow, RAM) == NO_WAITS
    # With others that drive it out it is filled once in each inference.
    other = reading(Reads("weights", 2000))
    assert waits([small, other], slow, RAM) == Waits(300 * 20, 300 * 20)


def test_around_the_size_of_the_cache_there_are_only_bounds():
    slow = flash(wait_states=20, line_bytes=8, cache=Cache(1024, 8, 2))
    found = waits([reading(Reads("weights", 1200, passes=10))], slow, RAM)
    assert found == Waits(150 * 20, 1500 * 20)


def test_arrays_that_are_read_together_share_the_cache():
    slow = flash(wait_states=20, line_bytes=8, cache=Cache(1024, 8, 2))
    both = reading(Reads("weights", 800, passes=10), Reads("weights", 1600, passes=10))
    assert waits([both], slow, RAM) == Waits(3000 * 20, 3000 * 20)
    apart = reading(Reads("weights", 800, passes=10), Reads("weights", 1600, passes=9))
    assert waits([apart], slow, RAM) == Waits((100 + 1800) * 20, (100 + 1800) * 20)
    maybe = reading(Reads("weights", 800, 10), Reads("weights", 1600, 10, maybe=True))
    assert waits([maybe], slow, RAM) == Waits(100 * 20, 3000 * 20)


def test_calls_of_a_step_read_apart_and_may_find_what_the_call_before_read():
    slow = flash(wait_states=20, line_bytes=8, cache=Cache(1024, 8, 2))
    calls = [Reads("weights", 600, passes=10, call=call, again=call > 0) for call in range(3)]
    other = reading(Reads("weights", 2000))
    found = waits([reading(*calls), other], slow, RAM)
    assert found == Waits((75 + 250) * 20, (3 * 75 + 250) * 20)
    # Counted once, they are all there is and stay.
    assert waits([reading(*calls)], slow, RAM) == Waits(0, 3 * 75 * 20 * (2 * 600 / 1024 - 1))


def test_parameters_are_loaded_from_the_region_of_the_code():
    slow, fast = flash(wait_states=2), dataclasses.replace(RAM, name="itcm")
    read = Reads("parameters", 80, passes=10, maybe=True)
    layer = Layer({slow: code()}, (read,), 1000.0, parameters=700)
    assert waits([layer], slow, RAM) == Waits(1400, 1400)
    # Weights elsewhere do not take them along; a data cache keeps them, perhaps.
    assert waits([layer], slow, RAM, fast, place={"weights": ["itcm"]}) == Waits(1400, 1400)
    cached = flash(wait_states=2, line_bytes=16, data_cache=Cache(64, 16, 4))
    assert waits([layer], cached, RAM) == Waits(0, 10 * 5 * 2)


def test_code_conflicts_in_a_cache_of_few_ways_in_every_inference():
    direct = flash(wait_states=3, line_bytes=4, instruction_cache=Cache(2048, 4, 1))
    lone = code((400, 1000.0), (200, 1000.0), fetched=600e3)
    assert waits([Layer({direct: lone}, (), 5e5)], direct, RAM) == NO_WAITS
    first, second = lone.parts
    apart = dataclasses.replace(lone, parts=(first, second._replace(start=0, piece=1)))
    found = waits([Layer({direct: apart}, (), 5e5)], direct, RAM)
    assert found.low == 0 and found.high == pytest.approx(3 * 2 * 50 * 1000, rel=0.002)


def test_arrays_lie_over_more_lines_than_their_bytes_fill():
    """44 and 12 bytes may take five of four lines."""
    tiny = flash(wait_states=5, line_bytes=16, data_cache=Cache(64, 16, 4))
    both = reading(Reads("weights", 44, passes=100), Reads("weights", 12, passes=100))
    other = reading(Reads("weights", 2000))
    alone = waits([other], tiny, RAM)
    found = waits([both, other], tiny, RAM)
    assert found.low - alone.low == 4 * 5 and found.high - alone.high == 400 * 5


def test_the_words_of_a_line_come_one_after_another():
    cache = Cache(1024, 32, 4)
    words = reading(Reads("weights", 3200))
    each = flash(wait_states=9, line_bytes=8, cache=cache)
    assert waits([words], each, RAM) == Waits(100 * 39, 100 * 39)
    burst = flash(wait_states=9, sequential_wait_states=1, line_bytes=8, cache=cache)
    assert waits([words], burst, RAM) == Waits(100 * 15, 100 * 15)


def test_code_in_a_cache_is_fetched_once_and_what_does_not_fit_in_every_round():
    art = flash(wait_states=5, line_bytes=16, instruction_cache=Cache(1024, 16, 64))
    loop = Layer({art: code((512, 1000.0), fetched=512e3)}, (), 2e5)
    assert waits([loop], art, RAM) == NO_WAITS  # left there by the inference before
    others = Layer({art: code((1010, 1000.0), fetched=1010e3)}, (), 2e5)
    again = 2 * 1010 / 1024 - 1
    assert waits([loop, others], art, RAM) == Waits(0, (lines(512) + 64) * 5 * again)
    large = Layer({art: code((2048, 1000.0), fetched=2048e3)}, (), 8e5)
    assert waits([large], art, RAM) == Waits(999 * lines(2048) * 5, 1000 * lines(2048) * 5)


def test_kernels_stay_in_the_cache_beside_each_other():
    art = flash(wait_states=5, line_bytes=16, instruction_cache=Cache(1024, 16, 64))
    one = Layer({art: code((400, 1000.0), fetched=400e3)}, (), 2e5, "conv")
    assert waits([one, one, one], art, RAM) == NO_WAITS
    # The more of the cache is taken, the more of it may be driven out.
    other = dataclasses.replace(one, kernel="pool")
    found = waits([one, other], art, RAM)
    again = 2 * 800 / 1024 - 1
    assert found.low == 0 and found.high == pytest.approx(2 * lines(400) * 5 * again)
    third = dataclasses.replace(one, kernel="add")
    assert waits([one, other, third], art, RAM) == Waits(0, 3 * lines(400) * 5)


def test_a_prefetch_hides_at_most_what_the_core_takes_for_a_line():
    caches = {"line_bytes": 16, "instruction_cache": Cache(1024, 16, 64)}
    plain, ahead = flash(wait_states=5, **caches), flash(wait_states=5, prefetch=True, **caches)
    moved = code((2048, 1000.0), fetched=2048e3)
    slow = waits([Layer({plain: moved}, (), 256e3)], plain, RAM)
    hidden = waits([Layer({ahead: moved}, (), 256e3)], ahead, RAM)
    # 2 cycles for each line of 16 bytes: 3 of 5 waits are left.
    assert hidden == Waits(slow.low * 3 / 5, slow.high)


def test_code_without_a_cache_waits_for_every_line_and_literal():
    plain = flash(wait_states=2, line_bytes=8)
    layer = Layer({plain: code((64, 10.0), fetched=640, jumps=10, literals=5)}, (), 300.0)
    assert waits([layer], plain, RAM) == Waits(80 * 2 + 5 * 2, 90 * 2 + 5 * 2)


def test_literals_beside_a_stream_may_miss_a_cache_of_a_few_lines():
    caches = {"instruction_cache": Cache(1024, 16, 64), "data_cache": Cache(128, 16, 8)}
    art = flash(wait_states=5, line_bytes=16, **caches)
    layer = Layer({art: code((64, 10.0), fetched=640, literals=7)}, (), 1e9)
    assert waits([layer], art, RAM) == Waits(0, 7 * 5)


def test_data_may_wait_for_a_prefetch_that_is_under_way():
    data = Cache(128, 16, 8)
    layer = reading(Reads("weights", 1600))
    quiet, busy = (
        flash(wait_states=5, line_bytes=16, data_cache=data, prefetch=ahead)
        for ahead in (False, True)
    )
    assert waits([layer], quiet, RAM) == Waits(500, 500)
    assert waits([layer], busy, RAM) == Waits(500, 500)  # the code runs from RAM
    there = Layer({busy: code()}, layer.reads, 1000.0)
    assert waits([there], busy, RAM) == Waits(500, 1000)


def test_an_arena_in_slow_memory():
    psram = Memory("psram", "ram", 0x6000_0000, 1 << 20, access=Access(wait_states=8))
    layer = reading(Reads("arena", 400), Reads("weights", 80), accesses=1020.0)
    place = {"arena": ("psram",)}
    assert waits([layer], flash(), RAM, psram, place=place) == Waits(100 * 8, 1000 * 8)
    # In two banks, one of them fast: between nothing and all of it.
    both = {"arena": ("ram", "psram")}
    assert waits([layer], flash(), RAM, psram, place=both) == Waits(0, 1000 * 8)
    # Which of it lies where is known of a plan; what the compiler spills is not.
    known = dataclasses.replace(layer, reads=(Reads("arena", 400, bank=1), *layer.reads[1:]))
    assert waits([known], flash(), RAM, psram, place=both) == Waits(100 * 8, 1000 * 8)
    away = dataclasses.replace(layer, reads=(Reads("arena", 400, bank=0), *layer.reads[1:]))
    assert waits([away], flash(), RAM, psram, place=both) == NO_WAITS
    cached = dataclasses.replace(
        psram, access=Access(wait_states=8, line_bytes=32, core_caches=True)
    )
    m7 = dataclasses.replace(CPU, data_cache=Cache(16384, 32, 4))
    found = waits([layer], flash(), RAM, cached, place=place, cpu=m7)
    assert found == Waits(0, 13 * 8)


def test_a_stack_in_slow_memory_away_from_the_arena():
    """At least nothing, as registers may do; at most every access that is none of constants."""
    psram = Memory("psram", "ram", 0x6000_0000, 1 << 20, access=Access(wait_states=8))
    layer = reading(Reads("arena", 400), Reads("weights", 80), accesses=1020.0)
    place = {"arena": ("ram",), "data": ("psram",)}
    assert waits([layer], flash(), RAM, psram, place=place) == Waits(0, 1000 * 8)
    assert MemoryModel(placement_of((flash(), RAM, psram), place), CPU).slow == ("psram",)
    split = {"arena": ("ram", "psram"), "data": ("psram",)}
    away = dataclasses.replace(layer, reads=(Reads("arena", 400, bank=0), *layer.reads[1:]))
    assert waits([away], flash(), RAM, psram, place=split) == Waits(0, 1000 * 8)
    m7 = dataclasses.replace(CPU, data_cache=Cache(16384, 32, 4))
    cached = dataclasses.replace(
        psram, access=Access(wait_states=8, line_bytes=32, core_caches=True)
    )
    assert waits([layer], flash(), RAM, cached, place=place, cpu=m7) == Waits(0, 512 / 32 * 8)


def test_figures_name_the_regions_and_hold_the_upper_bound():
    latency, zero = latency_figures(1000, Waits(200, 500), 1_000_000, ("flash",), How.MODELLED, "m")
    assert (latency.value, latency.low, latency.high) == (1500, 1200, 1500)
    assert latency.source == "m, 1 MHz, plus waits for flash" and zero.value == 1000
    exact, _ = latency_figures(1000, Waits(5, 5), 1_000_000, ("flash",), How.MODELLED, "m")
    assert (exact.value, exact.low, exact.high) == (1005, None, None)
    alone, none = latency_figures(1000, NO_WAITS, 1_000_000, (), How.MODELLED, "m")
    assert alone.value == 1000 and none is None


def slow_serial(target):
    """An external flash behind a cache: a word is 64 bits of SPI at a quarter of the clock."""
    access = Access(wait_states=255, line_bytes=4, cache=Cache(16384, 4, 2))
    memories = tuple(
        dataclasses.replace(m, access=access) if m is target.flash else m for m in target.memories
    )
    return dataclasses.replace(target, memories=memories)


def accelerated(target):
    """An STM32's flash: prefetch, a cache for code and eight lines for data."""
    access = Access(
        wait_states=5,
        line_bytes=16,
        prefetch=True,
        instruction_cache=Cache(1024, 16, 64),
        data_cache=Cache(128, 16, 8),
    )
    memories = tuple(
        dataclasses.replace(m, access=access) if m is target.flash else m for m in target.memories
    )
    return dataclasses.replace(target, memories=memories)


@pytest.mark.parametrize(
    ("board", "slow"),
    [("rpi-pico", slow_serial), ("cortex-m4", accelerated), ("nrf52840-dk", lambda board: board)],
)
def test_the_bounds_enclose_what_exact_caches_count(bench, board, slow):
    """Every fetch and every read of flash, one by one."""
    import memory_trace

    layers = bench.Layers(3)
    graph = bench.side_by_side(
        [
            layers.conv((1, 5, 6, 12), 40, (3, 3)),
            layers.depthwise((1, 6, 6, 12), (3, 3)),
            layers.dense((1, 300), 64),
            layers.binary("MUL", (1, 6, 6, 12), (1, 1, 1, 12)),
        ]
    )
    cycles, least, exact, most = memory_trace.compare(graph, slow(load_target(board)))
    assert 0.99 * least <= exact <= 1.01 * most
    assert most < 2.6 * least and exact > 0.05 * cycles


@pytest.mark.parametrize("seed", [5, 7])
@pytest.mark.parametrize(("board", "slow"), [("rpi-pico", slow_serial), ("cortex-m4", accelerated)])
def test_predicted_waits_of_networks_are_those_of_the_simulator(bench, board, slow, seed):
    import random_nets

    graph = run_passes(random_nets.odd_net(seed), DEFAULT_PASSES).graph
    target = slow(bench.roomy(board))
    run, predicted = bench.simulate(graph, target), bench.predicted_cycles(graph, target)
    assert predicted.latency_us.least == pytest.approx(run.latency_us.least, rel=0.06)
    assert predicted.latency_us.most == pytest.approx(run.latency_us.most, rel=0.06)
    assert run.latency_us.most > 1.01 * run.zero_wait_us.value


@pytest.mark.parametrize("seed", [1028, 1040])
def test_predicted_waits_of_networks_in_bands(bench, random_net, seed):
    """Kernels that take turns, unrolled loops, and several structures of parameters in a layer."""
    graph = run_passes(random_net(seed), DEFAULT_PASSES).graph
    target = load_target("nucleo-l4r5zi").optimized(Optimize.RAM)
    run, predicted = bench.simulate(graph, target), bench.predicted_cycles(graph, target)
    assert any(" + " in layer.kernel for layer in predicted.layers)
    assert predicted.latency_us.least == pytest.approx(run.latency_us.least, rel=0.05)
    assert predicted.latency_us.most == pytest.approx(run.latency_us.most, rel=0.1)
    assert run.latency_us.most > 1.5 * run.zero_wait_us.value


def test_a_dense_model_executed_in_place_takes_what_its_weights_take_to_read(bench):
    """Weights that are larger than the cache are read once in each inference, word by word."""
    graph = bench.Layers(7).dense((1, 1200), 60)
    target = slow_serial(load_target("rpi-pico"))
    least = 1200 * 60 / 4 * 255
    run = bench.simulate(graph, target)
    mhz = target.cpu.clock_hz / 1e6
    assert run.zero_wait_us.value == pytest.approx(run.cycles.value / mhz)
    assert run.latency_us.least > run.zero_wait_us.value + least / mhz
    assert run.latency_us.most < run.zero_wait_us.value + 1.1 * least / mhz
    assert run.layers[0].wait_cycles > 5 * run.layers[0].cycles
    predicted = bench.predicted_cycles(graph, target)
    assert predicted.slow == ("flash",)
    assert predicted.latency_us.most == pytest.approx(run.latency_us.most, rel=0.02)
    assert predicted.zero_wait_us.value == pytest.approx(run.zero_wait_us.value, rel=0.02)


def test_742_kb_of_weights_take_400_ms_to_read_word_by_word(bench):
    graph = bench.Layers(7).dense((1, 1856), 400)
    found = bench.predicted_cycles(graph, slow_serial(load_target("rpi-pico")))
    assert 52_000 < found.zero_wait_us.value < 66_000
    assert 425_000 < found.latency_us.least <= found.latency_us.most < 450_000
