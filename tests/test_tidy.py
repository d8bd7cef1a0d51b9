"""The house's style, where no tool knows it: each rule is a test over the files that git knows."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("virtscale", "services", "events", "schemas", "projections", "replay", "lab")
LINES_MAX = 400
FORBIDDEN_WORDS = frozenset({"manager", "helper", "helpers", "util", "utils", "base"})
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
# The one place where a test sleeps: between two questions of `eventually`.
SLEEPS = frozenset({"tests/support.py"})


def files(*patterns: str) -> list[Path]:
    """The files git tracks or would track, so that a rule bites before the commit."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=30).stdout
    return sorted({path for name in listed.splitlines() if (path := ROOT / name).is_file()})


def code() -> list[Path]:
    return [path for path in files("*.py") if path.relative_to(ROOT).parts[0] in PACKAGES]


def hits(pattern: str, paths: list[Path]) -> list[str]:
    """`path:line: text` of every line that matches."""
    wanted = re.compile(pattern)
    return [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
        for path in paths
        for number, line in enumerate(
            path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1
        )
        if wanted.search(line)
    ]


def words(name: str) -> set[str]:
    """The words of a snake_case or CamelCase name, in lower case."""
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])", name)}


def test_no_file_calls_itself_unfinished() -> None:
    unfinished = "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X", "NotImplemented" + "Error"))
    assert hits(rf"\b({unfinished})\b", files("*.py")) == []


def test_a_module_holds_one_idea_in_fewer_than_400_lines() -> None:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in files("*.py")}
    assert [f"{path.relative_to(ROOT)}: {n} lines" for path, n in lengths.items() if n >= LINES_MAX] == []


def test_no_module_or_class_is_named_after_nothing() -> None:
    modules = [
        str(path.relative_to(ROOT))
        for path in files("*.py")
        if any(words(part) & FORBIDDEN_WORDS for part in (*path.relative_to(ROOT).parts[:-1], path.stem))
    ]
    classes = [
        f"{path.relative_to(ROOT)}:{node.lineno}: class {node.name}"
        for path in files("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef) and words(node.name) & FORBIDDEN_WORDS
    ]
    assert modules + classes == []


def test_the_project_names_no_machine_of_its_makers() -> None:
    texts = (
        "*.py",
        "*.md",
        "*.sh",
        "*.toml",
        "*.yaml",
        "*.json",
        "*.txt",
        "Makefile",
        "tools/*",
        ".ci/*",
        "docs/*",
    )
    paths = files(*texts)
    places = "|".join(("[/]work/", "[/]root/", r"[/]home/[a-z]", r"\.\./sha" + "red", "[/]tmp/(bash|vs)"))
    assert hits(places, paths) == []


def test_the_locks_carry_hashes_and_no_index_host() -> None:
    for lock in ("requirements.lock", "requirements-dev.lock"):
        text = (ROOT / lock).read_text(encoding="utf-8")
        entries = re.split(r"\n(?=\S)", text)
        pinned = [entry for entry in entries if "==" in entry]
        assert pinned
        assert [entry for entry in pinned if "--hash=sha256:" not in entry] == []
        assert re.findall(r"\w+://\S+|--(?:extra-)?index-url.*", text) == []


def test_what_is_tested_is_what_is_shipped() -> None:
    def versions(lock: str) -> set[str]:
        return set(re.findall(r"^[\w.-]+==[^\s;]+", (ROOT / lock).read_text(encoding="utf-8"), re.MULTILINE))

    assert versions("requirements.lock") <= versions("requirements-dev.lock")


def workers() -> Iterator[Path]:
    for path in sorted((ROOT / "services").iterdir()):
        if path.is_dir() and files(f"services/{path.name}/*.py"):
            yield path


def test_every_worker_has_rules_or_a_shell_and_runs_alone() -> None:
    unruly = [
        path.name for path in workers() if not any((path / f).exists() for f in ("decide.py", "worker.py"))
    ]
    dependent = [path.name for path in workers() if not (path / "__main__.py").exists()]
    assert unruly == [], "a worker has decide.py, worker.py or both"
    assert dependent == [], "`python -m services.NAME` runs a worker alone"
    assert [path.name for path in workers() if not (path / "__init__.py").exists()] == []


def test_a_broad_except_has_its_reason_beside_it() -> None:
    """A handler that only tidies up and raises again swallows nothing, and needs none."""
    broad = re.compile(r"except( \(?(Base)?Exception\)?( as \w+)?)?:")
    reason = re.compile(r"#\s*(noqa: [A-Z0-9, ]+\s*)?[^\s#].*\w+ \w+")
    unexplained: list[str] = []
    for path in files("*.py"):
        text = path.read_text(encoding="utf-8")
        lines = text.splitlines()
        for node in ast.walk(ast.parse(text)):
            if not isinstance(node, ast.ExceptHandler) or isinstance(node.body[-1], ast.Raise):
                continue
            line = lines[node.lineno - 1]
            if broad.search(line) and not reason.search(line):
                unexplained.append(f"{path.relative_to(ROOT)}:{node.lineno}: {line.strip()}")
    assert unexplained == []


def test_tests_wait_on_conditions_and_never_sleep() -> None:
    """Calls are looked for, not words: a child program that a test writes may well sleep until it is killed."""
    asleep = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in files("tests/*.py")
        if str(path.relative_to(ROOT)) not in SLEEPS
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in {"time.sleep", "asyncio.sleep", "anyio.sleep"}
    ]
    assert asleep == []


def test_a_scene_that_is_written_is_played() -> None:
    """A test that defines its scene and never plays it cannot fail. What is decorated, its decorator may have taken."""
    unplayed: list[str] = []
    for path in files("tests/*.py"):
        for whole in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(whole, FUNCTIONS):
                continue
            inside = list(ast.walk(whole))
            named = {node.id for node in inside if isinstance(node, ast.Name)}
            methods = {method for node in inside if isinstance(node, ast.ClassDef) for method in node.body}
            unplayed += [
                f"{path.relative_to(ROOT)}:{node.lineno}: {node.name}"
                for node in inside[1:]
                if isinstance(node, FUNCTIONS) and node not in methods
                if node.name not in named and not node.decorator_list
            ]
    assert unplayed == []


def test_every_check_of_the_makefile_is_run_by_ci() -> None:
    ci = (ROOT / ".ci/run").read_text(encoding="utf-8")
    assert "make test" in ci
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    run = re.search(r"^checks:.*\n\t(.*)$", makefile, re.MULTILINE)
    assert run
    named = set(re.findall(r"^(check-\w+|documents-check):", makefile, re.MULTILINE))
    assert named
    assert named <= set(run.group(1).split())
