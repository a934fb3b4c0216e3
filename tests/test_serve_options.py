"""What serve.py refuses before it loads anything."""

from unittest import mock

import pytest

pytest.importorskip("torch")

import serve
from butler.errors import ButlerError


@pytest.mark.parametrize(
    ("option", "value"),
    [("--timeout", "nan"), ("--timeout", "inf"), ("--timeout", "0"), ("--threads", "100000"),
     ("--port", "99999"), ("--port", "x"), ("--queue", "0")],
)  # fmt: skip
def test_an_option_out_of_range_is_refused(option: str, value: str, capsys) -> None:
    words = ["serve.py", "--workspace", "w", option, value]
    with pytest.raises(SystemExit) as end, mock.patch("sys.argv", words):
        serve.parse_args()
    assert end.value.code == 2 and option in capsys.readouterr().err.splitlines()[-1]


def test_taken_port_is_named() -> None:
    with serve.listen("127.0.0.1", 0) as taken:
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ButlerError, match=f"cannot listen on 127.0.0.1:{port}"):
            serve.listen("127.0.0.1", port)
