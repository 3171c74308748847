"""The repository's own promises: packaging, locks, the Makefile, and the interpreter it picks."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from sweeps.config import load_study
from sweeps.config.toml import leaves
from tests.scripts import load_script
from tests.stores import give_database

ROOT = Path(__file__).parents[1]

needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    with open(ROOT / "pyproject.toml", "rb") as file:
        return tomllib.load(file)


def pins(name: str) -> dict[str, set[str]]:
    """Returns the versions that a lock holds of each package (one, or one for each range of Pythons)."""
    found: dict[str, set[str]] = {}
    for package, version in re.findall(r"^([a-z0-9-]+)==(\S+)", (ROOT / name).read_text(), re.MULTILINE):
        found.setdefault(package, set()).add(version)
    return found


def test_a_sweep_needs_these_packages_and_no_others(project: dict[str, Any]) -> None:
    assert project["project"]["requires-python"] == ">=3.11"
    names = {re.split(r"[^a-z]", requirement)[0] for requirement in project["project"]["dependencies"]}
    assert names == {"numpy", "mlflow", "optuna", "tqdm", "pandas", "pooch"}


def test_the_locks_hold_what_the_project_asks_for(project: dict[str, Any]) -> None:
    runtime, dev = pins("requirements.lock"), pins("requirements-dev.lock")
    wanted = project["project"]["dependencies"] + project["project"]["optional-dependencies"]["build"]
    assert {re.split(r"[^a-z-]", requirement)[0] for requirement in wanted} <= runtime.keys()
    extra = [each for each in project["project"]["optional-dependencies"]["dev"] if "[" not in each]
    assert {re.split(r"[^a-z-]", requirement)[0] for requirement in extra} <= dev.keys()
    assert runtime.items() <= dev.items()  # so the stamp of `dev` may stand for both


def test_what_benchmarks_compare_with_is_pinned_but_in_no_lock(project: dict[str, Any]) -> None:
    (requirement,) = project["project"]["optional-dependencies"]["bench"]
    assert re.fullmatch(r"torch==\d+\.\d+\.\d+", requirement)
    assert "torch" not in pins("requirements-dev.lock")


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock"])
def test_the_locks_name_no_place_and_pin_every_file(name: str) -> None:
    text = (ROOT / name).read_text()
    assert not re.search(r"https?://|file:|--(extra-)?index|--find-links|(^|\s)/", text)
    entries = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]
    assert len(entries) > 90
    assert all("--hash=sha256:" in entry for entry in entries)


def make(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS", "GNUMAKE"))}
    return subprocess.run(
        ["make", *arguments], cwd=ROOT, env=kept | environment, capture_output=True, text=True, timeout=60, check=False
    )


@needs_make
def test_make_alone_prints_help() -> None:
    done = make()
    assert done.returncode == 0, done.stderr
    assert done.stdout == make("help").stdout
    listed = set(re.findall(r"^  ([a-z-]+)  ", done.stdout, re.MULTILINE))
    assert {"help", "setup", "data", "sweep", "ui", "train", "test", "lint", "submission", "lock", "clean"} <= listed
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert phony is not None
    assert listed == set(phony.group(1).split()) - {"again"}


@needs_make
def test_make_sweep_is_run_ensemble_and_submit() -> None:
    done = make("--dry-run", "--always-make", "sweep", "STUDY=contest", "BUDGET=30m", "ARGS=--workers 1")
    commands = re.findall(r"-m sweeps (.*)", done.stdout)
    assert [" ".join(command.split()) for command in commands] == [
        "run contest --set budget.time=30m --workers 1",
        "ensemble contest",
        "submit contest",
    ]
    assert "setup.py runtime" in done.stdout
    assert "setup.py dev" not in done.stdout


@needs_make
def test_make_submission_takes_its_input() -> None:
    done = make("--dry-run", "submission", "INPUT=my images.npy", "FORMAT=digits")
    assert "submit default --input 'my images.npy'  --format digits" in done.stdout


@needs_make
def test_make_verify_takes_the_last_submission_or_another_one() -> None:
    done = make("--dry-run", "verify")
    assert "verify 'submission.csv.manifest.json'" in done.stdout
    done = make("--dry-run", "verify", "MANIFEST=my file.json", "INPUT=my images.npy")
    assert "verify 'my file.json' --input 'my images.npy'" in done.stdout


@needs_make
@pytest.mark.parametrize(
    ("target", "verb"), [("ui", "ui"), ("serve", "serve default"), ("dashboard", "dashboard default")]
)
def test_make_opens_the_pages_that_it_serves_unless_told(target: str, verb: str) -> None:
    assert f"-m sweeps {verb} --open --no-open" in make("--dry-run", target, "ARGS=--no-open").stdout


@needs_make
def test_a_quick_bench_leaves_the_docs_alone() -> None:
    full, quick = make("--dry-run", "bench").stdout, make("--dry-run", "bench", "ARGS=--quick").stdout
    assert "--parts all" in full
    assert "--output docs" in full
    assert "--output" not in quick
    assert quick.rstrip().endswith("--quick")


@needs_make
@pytest.mark.parametrize(
    ("target", "level"), [("test", "dev"), ("lint", "dev"), ("bench", "bench"), ("ui", "runtime"), ("data", "runtime")]
)
def test_every_target_sets_itself_up(target: str, level: str) -> None:
    assert f"setup.py {level}" in make("--dry-run", "--always-make", target).stdout


def fake_python(folder: Path, name: str, version: str, *, works: bool = True, venv: bool = True) -> None:
    """Writes an interpreter that answers what `find-python.sh` asks."""
    path = folder / name
    path.write_text(
        "#!/bin/sh\n"
        'case "$2" in\n'
        f'  *platform*) echo "CPython {version}" ;;\n'
        f"  *version_info*) exit {0 if works else 1} ;;\n"
        f"  *ensurepip*) exit {0 if venv else 1} ;;\n"
        "esac\n"
    )
    path.chmod(0o755)


def find_python(folder: Path, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/sh", str(ROOT / "tools" / "find-python.sh")],
        env={"PATH": str(folder), **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_newest_interpreter_is_picked(tmp_path: Path) -> None:
    fake_python(tmp_path, "python3", "3.9.2", works=False)
    fake_python(tmp_path, "python3.11", "3.11.2")
    assert find_python(tmp_path).stdout == "python3.11\n"
    fake_python(tmp_path, "python3.13", "3.13.0")
    assert find_python(tmp_path).stdout == "python3.13\n"
    # One that cannot make an environment is passed over, and so is one that is only a name.
    fake_python(tmp_path, "python3.13", "3.13.0", venv=False)
    (tmp_path / "python3.12").write_text("#!/bin/sh\nexit 127\n")
    (tmp_path / "python3.12").chmod(0o755)
    assert find_python(tmp_path).stdout == "python3.11\n"


def test_a_named_interpreter_is_taken_or_refused(tmp_path: Path) -> None:
    (folder := tmp_path / "with space").mkdir()
    fake_python(tmp_path, "python3.13", "3.13.0")
    fake_python(folder, "python", "3.11.1")
    named = str(folder / "python")
    assert find_python(tmp_path, {"PYTHON": named}).stdout == f"{named}\n"
    done = find_python(tmp_path, {"PYTHON": "/nowhere/python3"})
    assert done.returncode == 2
    assert "PYTHON=/nowhere/python3 does not start" in done.stderr


def test_what_is_missing_is_said_with_the_remedy(tmp_path: Path) -> None:
    done = find_python(tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "no Python is in the PATH" in done.stderr
    fake_python(tmp_path, "python3", "3.9.2", works=False)
    done = find_python(tmp_path)
    assert done.returncode == 2
    assert "3.11 or later, but python3 is CPython 3.9.2" in done.stderr
    assert "apt-get install python3" in done.stderr
    fake_python(tmp_path, "python3.11", "3.11.2", venv=False)
    done = find_python(tmp_path)
    assert done.returncode == 2
    assert "ensurepip" in done.stderr
    assert "python3.11 lacks" in done.stderr
    assert "apt-get install python3-venv" in done.stderr


def test_this_interpreter_would_do(tmp_path: Path) -> None:
    assert find_python(tmp_path, {"PYTHON": sys.executable}).stdout == f"{sys.executable}\n"


@pytest.fixture
def setup_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The set-up script as a module, with an environment of its own."""
    module = load_script(ROOT / "tools" / "setup.py")
    (tmp_path / "bin").mkdir()
    monkeypatch.setattr(module, "VENV", tmp_path)
    monkeypatch.setattr(module, "PYTHON", tmp_path / "bin" / "python")
    return module


def fake_pip(path: Path, code: int) -> None:
    lines = "Collecting numpy==2.4.6\\nERROR: no space left\\nInstalling collected packages: numpy, six\\n"
    path.write_text(f"#!/bin/sh\nif [ \"$2\" = pip ]; then printf '{lines}'; exit {code}; fi\n")
    path.chmod(0o755)


def test_a_finished_setup_leaves_its_stamps(
    setup_script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_pip(tmp_path / "bin" / "python", 0)
    assert setup_script.main("runtime") == 0
    assert not (tmp_path / ".dev").exists()
    assert setup_script.main("dev") == 0
    assert (tmp_path / ".runtime").exists()
    assert (tmp_path / ".dev").exists()
    assert not (tmp_path / ".bench").exists()
    said = capsys.readouterr().err
    assert "unpacking 2 packages" in said
    assert "ERROR" not in said


def test_the_setup_for_benchmarks_adds_pytorch_to_the_dev_lock(
    setup_script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, project: dict[str, Any]
) -> None:
    asked: list[tuple[str, ...]] = []
    monkeypatch.setattr(setup_script, "pip", lambda *arguments: asked.append(arguments) or 0)
    fake_pip(tmp_path / "bin" / "python", 0)
    assert setup_script.main("bench") == 0
    lock, own, extra = asked
    assert lock == ("--require-hashes", "-r", str(ROOT / "requirements-dev.lock"))
    assert own[-2:] == ("-e", str(ROOT))
    assert extra == tuple(project["project"]["optional-dependencies"]["bench"])
    assert {path.name for path in tmp_path.glob(".*")} == {".runtime", ".dev", ".bench"}


def test_a_setup_that_fails_shows_pips_lines(
    setup_script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_pip(tmp_path / "bin" / "python", 1)
    assert setup_script.main("runtime") == 1
    assert "ERROR: no space left" in capsys.readouterr().err
    assert not (tmp_path / ".runtime").exists()


def test_an_environment_whose_interpreter_is_gone_does_not_start(setup_script: ModuleType, tmp_path: Path) -> None:
    python = tmp_path / "bin" / "python"
    assert not setup_script.starts(python)
    python.symlink_to(tmp_path / "gone")
    assert not setup_script.starts(python)
    python.unlink()
    python.symlink_to(sys.executable)
    assert setup_script.starts(python)


def test_ci_runs_the_command_that_the_readme_names() -> None:
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    assert lines[-1] == "exec make test </dev/null"
    assert any(line.startswith("make setup-bench") for line in lines)
    assert "make test" in (ROOT / "README.md").read_text()
    subprocess.run(["bash", "-n", str(ROOT / ".ci" / "run")], check=True)


def fenced(language: str, *, first: str) -> str:
    """Returns the README's block of that language that begins with `first`."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    (block,) = [block for block in blocks if block.startswith(first)]
    return str(block)


def test_the_readme_s_study_is_one_and_says_what_the_default_does(tmp_path: Path) -> None:
    text = fenced("toml", first="[study]")
    (tmp_path / "mine.toml").write_text(text)
    assert load_study(tmp_path / "mine.toml", root=ROOT).budget.time_s == 300
    default = dict(leaves(tomllib.loads((ROOT / "studies" / "default.toml").read_text())))
    shown = dict(leaves(tomllib.loads(text)))
    assert len(shown) > 10
    assert shown == {path: default.get(path) for path in shown}


@pytest.mark.slow
def test_the_readme_s_new_layer_is_found_tested_and_searched(tmp_path: Path, sample_dir: Path, database: Path) -> None:
    for name in ("mnistnn", "sweeps"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    code = fenced("python", first="# mnistnn/layers/leaky_relu.py")
    (tmp_path / "mnistnn" / "layers" / "leaky_relu.py").write_text(code)
    shutil.copytree(ROOT / "tests" / "mnistnn", tmp_path / "tests" / "mnistnn")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    give_database(tmp_path, database)
    (tmp_path / "studies").mkdir()
    study = (ROOT / "studies" / "smoke.toml").read_text()
    search = fenced("toml", first="# in the study")
    (tmp_path / "studies" / "leaky.toml").write_text(re.sub(r"activation = .*\n", "", study) + search)

    environment = os.environ | {
        "MNIST_DIR": str(sample_dir),
        "SWEEPS_HOME": str(tmp_path),
        "PYTHONPATH": str(tmp_path),
        "OPENBLAS_NUM_THREADS": "1",
    }

    def python(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert " passed" in python("-m", "pytest", "-q", "tests/mnistnn/contract/test_layers.py", "-k", "leaky_relu")
    python("-m", "sweeps", "run", "leaky", "--workers", "1", "--set", "study.baselines=[]")
    trials = json.loads(python("-m", "sweeps", "trials", "leaky", "--json"))
    slopes = [trial["leaky_relu.slope"] for trial in trials if trial["activation"] == "leaky_relu"]
    assert slopes
    assert all(0 <= slope <= 0.3 for slope in slopes)


def test_the_imports_keep_their_direction() -> None:
    command = Path(sys.executable).with_name("lint-imports")
    if not command.exists():
        pytest.skip("needs import-linter")
    done = subprocess.run([str(command)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
