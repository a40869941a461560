import pytest

from edgebuild.errors import InputError
from edgebuild.project import (
    Normalization,
    Project,
    find_project,
    load_project,
    parse_input_shape,
    parse_normalization,
    read_project,
)

PYPROJECT = "pyproject.toml"
WHOLE = """\
model = "models/net.keras"
data = "data.npz"
name = "net"
targets = ["cortex-m4", "cortex-m55", "boards/mine.toml"]
toolchain = "gcc"
run = "host"
out = "dist"
samples = 16
calibration_samples = 50
seed = 7
trust_model = true
accuracy_gate = false
[budget]
max_flash = "128KiB"
max_ram = "64KiB"
max_latency = "50ms"
max_accuracy_drop = "1%"
max_class_drop = "5%"
max_error_increase = "150%"
min_similarity = 0.98
[target.cortex-m55]
run = "qemu"
toolchain = "zig"
[target.cortex-m55.budget]
max_ram = "32KiB"
[target."boards/mine.toml".budget]
max_flash = 1000
[normalization.image]
mean = [127.5]
std = [64]
"""


@pytest.fixture
def project(tmp_path):
    (tmp_path / "boards").mkdir()
    (tmp_path / "boards" / "mine.toml").touch()

    def write(text, name="edgebuild.toml"):
        (tmp_path / name).write_text(text)
        return tmp_path

    return write


def test_a_whole_project(project):
    folder = project(WHOLE)
    loaded = load_project(folder)
    mine = str(folder / "boards" / "mine.toml")
    assert loaded.folder == folder
    assert loaded.model == folder / "models" / "net.keras"
    assert loaded.data == "data.npz"
    assert loaded.out == folder / "dist"
    assert (loaded.name, loaded.toolchain, loaded.run) == ("net", "gcc", "host")
    assert (loaded.samples, loaded.calibration_samples, loaded.seed) == (16, 50, 7)
    assert loaded.trust_model is True and loaded.accuracy_gate is False
    assert loaded.targets == ("cortex-m4", "cortex-m55", mine)
    assert loaded.budget.to_json() == {
        "flash_bytes": 128 * 1024,
        "ram_bytes": 64 * 1024,
        "latency_us": 50_000,
        "max_accuracy_drop": 0.01,
        "max_class_drop": 0.05,
        "max_error_increase": 1.5,
        "min_similarity": 0.98,
    }
    assert loaded.per_target[mine].budget.flash_bytes == 1000
    assert loaded.normalization == {"image": Normalization((127.5,), (64.0,))}


def test_settings_of_one_target_are_over_those_of_the_project(project):
    loaded = load_project(project(WHOLE))
    settings = loaded.settings_for("cortex-m55")
    assert (settings.run, settings.toolchain) == ("qemu", "zig")
    assert (settings.budget.flash_bytes, settings.budget.ram_bytes) == (128 * 1024, 32 * 1024)
    assert settings.budget.sources["ram_bytes"] == "edgebuild.toml [target.cortex-m55]"
    assert settings.budget.sources["flash_bytes"] == "edgebuild.toml"
    other = loaded.settings_for("cortex-m4")
    assert (other.run, other.toolchain, other.budget) == ("host", "gcc", loaded.budget)


def test_an_empty_file_is_all_defaults(project):
    folder = project("")
    assert load_project(folder) == Project(file=folder / "edgebuild.toml", out=folder / "build")


def test_paths_are_relative_to_the_file_not_to_here(project, tmp_path, monkeypatch):
    folder = project('model = "m.tflite"\n')
    monkeypatch.chdir(tmp_path.parent)
    assert load_project(folder).model == folder / "m.tflite"


def test_pyproject(project):
    folder = project(
        '[project]\nname = "x"\n[tool.edgebuild]\nmodel = "m.tflite"\n', "pyproject.toml"
    )
    assert find_project(folder) == folder / "pyproject.toml"
    assert load_project(folder).model == folder / "m.tflite"


def test_pyproject_faults_have_their_key_path(project):
    folder = project('[tool.edgebuild]\nmodle = "m.tflite"\n', PYPROJECT)
    with pytest.raises(InputError) as error:
        load_project(folder)
    assert error.value.message == (
        f"{folder}/pyproject.toml: tool.edgebuild.modle is not a field; did you mean 'model'?"
    )


def test_a_pyproject_of_others_is_not_our_business(project):
    folder = project("this is = not toml", PYPROJECT)
    assert find_project(folder) is None
    project("")
    assert find_project(folder) == folder / "edgebuild.toml"
    project("edgebuild = not toml", PYPROJECT)
    assert find_project(folder) == folder / "edgebuild.toml"
    (folder / "edgebuild.toml").unlink()
    with pytest.raises(InputError, match="not valid TOML"):
        find_project(folder)


def test_two_project_files_are_one_too_many(project):
    folder = project("")
    project("[tool.edgebuild]\n", PYPROJECT)
    with pytest.raises(InputError, match="both exist"):
        load_project(folder)


def test_no_project_says_how_to_get_one(tmp_path):
    with pytest.raises(InputError, match=f"no edgebuild.toml in {tmp_path}") as error:
        load_project(tmp_path)
    assert "edgebuild init" in error.value.hint


FAULTS = [
    ('model = "m"', 'modell = "m"', "modell is not a field; did you mean 'model'?"),
    ('model = "m"', "model = 3", "model must be a string, not a number"),
    ('["cortex-m4"]', '["cortex-m5"]', "targets 'cortex-m5' is not a known target; did you mean"),
    ('["cortex-m4"]', '["./gone.toml"]', "gone.toml does not exist"),
    ('["cortex-m4"]', '["cortex-m4", "cortex-m4"]', "targets 'cortex-m4' is listed twice"),
    ('["cortex-m4"]', '"cortex-m4"', "targets must be an array of strings, not a string"),
    ("[target.cortex-m4.", "[target.cortexm4.", "target.cortexm4 'cortexm4' is not a known target"),
    ('"zig"', '"zigg"', "toolchain 'zigg' is not known; did you mean 'zig'?"),
    ('run = "host"', 'run = "serial"', "run 'serial' is not known"),
    ('"128KiB"', '"128KB"', "budget.max_flash '128KB': unknown unit of size 'KB'"),
    ("max_flash", "flash", "budget.flash is not a field; did you mean 'max_flash'?"),
    ('"32KiB"', '"1 KB"', "target.cortex-m4.budget.max_ram '1 KB': unknown unit of size 'KB'"),
    ("samples = 8", "samples = 0", "samples 0 is not between 1 and 1,000,000"),
    ("samples = 8", "seed = -1", "seed number -1 is negative"),
    ("samples = 8", "trust_model = 1", "trust_model must be true or false, not 1"),
    ("samples = 8", 'name = "a/b"', "name 'a/b' must be letters"),
    *(
        ("[budget]", f"[normalization.x]\n{lines}\n[budget]", f"normalization.x{words}")
        for lines, words in (
            ("mean = [1]\nstd = [0]", " has a std of 0"),
            ("mean = [1, 2]\nstd = [1]", " has 2 numbers in mean but 1 in std"),
            ("mean = [1]", ".std is missing"),
            ("mean = 1\nstd = [1]", ".mean must be an array of numbers, not 1"),
            ("mean = []\nstd = [1]", ".mean must be an array of numbers, not []"),
            ("mean = [true]\nstd = [1]", ".mean must be an array of numbers, not of True"),
            ("mean = [nan]\nstd = [1]", ".mean must be an array of numbers, not of nan"),
            ("mean = [1]\nstd = [1]\nmin = 0", ".min is not a field"),
        )
    ),
]


def test_an_input_shape_as_a_flag():
    assert parse_input_shape("serving=x:0=1,96,96,1") == ("serving=x:0", (1, 96, 96, 1))
    assert parse_input_shape("1,96") == ("", (1, 96))
    for text in ("image", "image=", "image=1,x", "image=1,0", "image=1,-1", f"image={2**40}"):
        with pytest.raises(InputError, match="does not have the form INPUT=1,96,96,1"):
            parse_input_shape(text)


def test_input_shapes_of_a_project(tmp_path):
    file = tmp_path / "edgebuild.toml"
    file.write_text('model = "m"\n[input_shapes]\nimage = [1, 96, 96, 1]\n"a=b" = [1, 2]\n')
    assert read_project(file).input_shapes == {"image": (1, 96, 96, 1), "a=b": (1, 2)}
    file.write_text('model = "m"\n[input_shapes]\nimage = [1, 9.5]\nother = [0]\n')
    with pytest.raises(InputError) as error:
        read_project(file)
    assert str(error.value).count("whole numbers from 1") == 2


def test_a_normalization_as_a_flag():
    name, pair = parse_normalization("serving=x:0=1,2.5/-3,4e2")
    assert (name, pair) == ("serving=x:0", Normalization((1.0, 2.5), (-3.0, 400.0)))
    for text, words in (
        ("image", "does not have the form INPUT=MEAN/STD"),
        ("image=1", "does not have the form INPUT=MEAN/STD"),
        ("=1/1", "does not name an input"),
        ("image=1,2/1", "has 2 numbers in mean but 1 in std"),
        ("image=nan/1", "not finite"),
        ("image=1/0", "std of 0"),
    ):
        with pytest.raises(InputError, match=words) as error:
            parse_normalization(text)
        assert error.value.message.startswith(f"--normalization '{text}'")


GOOD = """\
model = "m"
targets = ["cortex-m4"]
toolchain = "zig"
run = "host"
samples = 8
[budget]
max_flash = "128KiB"
[target.cortex-m4.budget]
max_ram = "32KiB"
"""


@pytest.mark.parametrize(("old", "new", "words"), FAULTS)
def test_a_fault_names_file_key_and_remedy(project, old, new, words):
    folder = project(GOOD.replace(old, new, 1))
    with pytest.raises(InputError) as error:
        load_project(folder)
    assert error.value.message.startswith(f"{folder}/edgebuild.toml: ")
    assert words in error.value.message


def test_all_faults_are_reported_at_once(project):
    text = GOOD
    for old, new, _ in (FAULTS[0], FAULTS[2], FAULTS[7], FAULTS[9]):
        text = text.replace(old, new, 1)
    folder = project(text)
    with pytest.raises(InputError) as error:
        load_project(folder)
    assert error.value.message == f"{folder}/edgebuild.toml has 4 errors"
    assert error.value.hint == "correct edgebuild.toml and run the command again"
    assert len(error.value.details) == 4


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ('tarrget = ["cortex-m4"]', "targets"),
        ('[tarrget.cortex-m4]\nrun = "none"', "target"),
        ('modle = "net.keras"', "model"),
    ],
)
def test_a_misspelled_key_is_taken_for_one_that_holds_such_a_value(project, line, meant):
    with pytest.raises(InputError, match=f"did you mean '{meant}'"):
        load_project(project(line))


def test_a_key_that_resembles_none_gets_the_list(project):
    with pytest.raises(InputError, match="qqq is not a field; fields: model, out, targets, data"):
        load_project(project("qqq = 1"))


def test_text_without_quotes_is_shown_with_them(project):
    with pytest.raises(InputError) as error:
        load_project(project('data = "set.npz"\nmodel = net.keras\n'))
    assert "edgebuild.toml, line 2: not valid TOML: invalid value" in error.value.message
    assert error.value.details == ("model = net.keras",)
    assert error.value.hint == 'put the text in double quotes: model = "net.keras"'


@pytest.mark.parametrize("text", ["[target\n", "model\n", "a = [1,\n", "a = 1\na = 2\n", "a = "])
def test_other_invalid_toml_gets_the_rule(project, text):
    with pytest.raises(InputError, match="not valid TOML") as error:
        load_project(project(text))
    assert "a line is `name = value`" in error.value.hint
