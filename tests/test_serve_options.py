"""What serve.py refuses before it loads anything."""

from pathlib import Path
from unittest import mock

import pytest

pytest.importorskip("torch")

import serve
from butler.errors import ButlerError
from butler.serve.address import KEY_VARIABLE


@pytest.mark.parametrize(
    ("option", "value"),
    [("--timeout", "nan"), ("--timeout", "inf"), ("--timeout", "0"), ("--threads", "100000"),
     ("--threads", "0"), ("--max-batch", "x"), ("--tp", "0"), ("--session-len", "-1"),
     ("--port", "99999"), ("--port", "x"), ("--queue", "0"), ("--api-key", "")],
)  # fmt: skip
def test_an_option_out_of_range_is_refused(option: str, value: str, capsys) -> None:
    words = ["serve.py", "--workspace", "w", option, value]
    with pytest.raises(SystemExit) as end, mock.patch("sys.argv", words):
        serve.parse_args()
    assert end.value.code == 2 and option in capsys.readouterr().err.splitlines()[-1]


def test_the_folder_is_named_as_for_chat_and_page(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (["w/kv8"], ["--workspace", "w/kv8"], ["--port", "9", "w/kv8"]):
        monkeypatch.setattr("sys.argv", ["serve.py", *words])
        assert serve.parse_args().workspace == Path("w/kv8")
    monkeypatch.setattr("sys.argv", ["serve.py"])
    with pytest.raises(SystemExit) as end:
        serve.parse_args()
    assert end.value.code == 2
    assert "name the folder to serve" in capsys.readouterr().err.splitlines()[-1]


def test_taken_port_is_named() -> None:
    with serve.listen("127.0.0.1", 0) as taken:
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ButlerError, match=f"cannot listen on 127.0.0.1:{port}.*--port"):
            serve.listen("127.0.0.1", port)


def test_taken_port_is_told_before_the_workspace_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(*_: object) -> None:
        raise AssertionError("the workspace was opened")

    monkeypatch.setattr(serve, "open_workspace", opened)
    with serve.listen("127.0.0.1", 0) as taken:
        taken.listen()
        port = str(taken.getsockname()[1])
        words = ["serve.py", str(tmp_path), "--port", port]
        monkeypatch.setattr("sys.argv", words)
        with pytest.raises(ButlerError, match=f"cannot listen on 127.0.0.1:{port}"):
            serve.main()


def test_a_key_variable_that_is_empty_asks_for_none(tmp_path, monkeypatch) -> None:
    """As an evaluation starts its server, whatever key the user has exported."""
    monkeypatch.setenv(KEY_VARIABLE, "")
    monkeypatch.setattr("sys.argv", ["serve.py", str(tmp_path)])
    assert serve.parse_args().api_key is None
