"""`virtscale demo day` refuses what it cannot play before anything is started."""

from pathlib import Path

import pytest

from virtscale.cli import app
from virtscale.demo.errors import CurveError
from virtscale.invocation import UsageError


def day(*words: str) -> object:
    return app(["demo", "day", *words], exit_on_error=False, result_action="return_value")


@pytest.mark.parametrize(
    ("words", "error", "sentence"),
    [
        (("--vms", "1"), UsageError, "choose 2 to 64"),
        (("--vms", "65"), UsageError, "choose 2 to 64"),
        (("--twin", "--vms", "1001"), UsageError, "choose 2 to 1000"),
        (("--from", "09:00", "--to", "08:00"), CurveError, "no stretch of one day"),
        (("--from", "noon"), CurveError, "no time of the day"),
        (("--speed", "0.5"), CurveError, "choose 1 to 60"),
    ],
)
def test_what_cannot_be_played_is_refused_with_the_limits(
    tmp_path: Path, words: tuple[str, ...], error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        day(*words, "--into", str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_a_directory_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(UsageError, match="there already and not empty"):
        day("--into", str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
