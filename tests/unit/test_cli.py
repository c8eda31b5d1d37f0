"""The parts of the command line: requests, retries, output, and the errors that `check` finds."""

import io
import json
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from gateway.api.openapi.document import document
from gateway.cli import cli, main
from gateway.commands.client import PAUSES, Attempt, Client, GaveUp, Generation, Output, Refused, Unreachable
from gateway.commands.generate import Following, Server, download, follow, generate, watch
from gateway.commands.terminal import progress, say
from gateway.domain.errors import ConfigurationError
from gateway.server import listen, url_of

BASE = "http://gateway.example"
PATH = "/v1/videos/generations"
OUT = io.BytesIO()
Image.new("RGB", (512, 512)).save(OUT, "PNG")
PNG = OUT.getvalue()
Answer = httpx.Response | httpx.TransportError


@pytest.fixture(autouse=True)
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("KEEVX", "KLING_RELAY", "FOXAPI", "VIDEO_GATEWAY"):
        for ending in ("API_KEY", "BASE_URL", "URL", "CONFIG", "DATABASE_URL", "ARTIFACTS", "HOST", "PORT"):
            monkeypatch.delenv(f"{name}_{ending}", raising=False)
    return tmp_path


class Gateway:
    """Gives the answers in order and repeats the last one; records the requests and the sleeps."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []
        self.slept: list[float] = []

    def client(self, url: str = BASE, key: str | None = "vg_key") -> Client:
        return Client(url, key, sleep=self.slept.append, transport=httpx.MockTransport(self._answer))

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, httpx.TransportError):
            raise answer
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)


def seen(status: str = "completed", *, tag: str = '"1"', **more: Any) -> httpx.Response:
    return httpx.Response(200, json={"id": "gen_1", "status": status, "model": "m"} | more, headers={"etag": tag})


def refused(status: int, code: str = "some_code") -> httpx.Response:
    return httpx.Response(status, json={"error": {"message": "Said so.", "code": code}})


class Shown:
    def __init__(self) -> None:
        self.statuses: list[str] = []
        self.notes: list[str] = []

    def generation(self, generation: Generation) -> None:
        self.statuses.append(generation.status)

    def note(self, text: str) -> None:
        self.notes.append(text)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments)


# --- client -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "trouble",
    [httpx.ConnectError("no"), httpx.ReadTimeout("late"), refused(503), refused(409, "idempotency_key_in_use")],
    ids=["connect", "read", "503", "in use"],
)
def test_a_create_without_an_answer_is_repeated_under_the_same_key(trouble: Answer) -> None:
    gateway, notes = Gateway(trouble, trouble, seen("queued")), []  # type: ignore[var-annotated]  # of str
    generation = gateway.client().create({"model": "m"}, "one-key", notes.append)

    assert generation.id == "gen_1"
    assert [request.headers["idempotency-key"] for request in gateway.requests] == ["one-key"] * 3
    assert {request.content for request in gateway.requests} == {b'{"model":"m"}'}
    assert gateway.slept == list(PAUSES[:2])
    assert len(notes) == 1


@pytest.mark.parametrize("status", [400, 401, 404, 409, 422])
def test_a_refusal_is_not_repeated(status: int) -> None:
    gateway = Gateway(refused(status))
    with pytest.raises(Refused, match=f"HTTP {status} some_code: Said so."):
        gateway.client().create({}, "key", lambda _: None)
    assert len(gateway.requests) == 1


def test_a_command_without_a_key_says_where_it_reads_one() -> None:
    gateway = Gateway(httpx.Response(401, json={"error": {"message": "Send your key.", "code": "invalid_api_key"}}))
    with pytest.raises(Refused, match=r"invalid_api_key: Send your key\. .* VIDEO_GATEWAY_API_KEY or --api-key-file\."):
        gateway.client(key=None).raw("/v1/models")


def test_a_create_gives_up_in_the_end() -> None:
    gateway = Gateway(httpx.ConnectError("no"))
    with pytest.raises(Unreachable, match=r"no answer from http://gateway\.example: no"):
        gateway.client().create({}, "key", lambda _: None)
    assert len(gateway.requests) == len(PAUSES) + 1


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"\xff"])
def test_anything_that_is_not_a_gateway_is_reported(body: bytes) -> None:
    with pytest.raises(Refused, match="is the URL right"):
        Gateway(httpx.Response(200, content=body)).client().read("gen_1")


def test_a_page_of_a_proxy_is_reported_by_its_status() -> None:
    with pytest.raises(Refused, match=r"HTTP 404: Not Found"):
        Gateway(httpx.Response(404, content=b"<html>")).client().read("gen_1")


@pytest.mark.parametrize("url", ["gateway.example", "ftp://gateway.example", "http://", "http://me:word@host", ""])
def test_a_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="http"):
        Client(url)


@pytest.mark.parametrize("key", ["two words", "schlüssel", "line\nbreak"])
def test_a_key_that_is_none_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match="key"):
        Client(BASE, key)


@pytest.mark.parametrize("url", [BASE, f"{BASE}/", f"{BASE}/v1", f"{BASE}/v1/"])
def test_the_url_may_end_as_an_openai_client_has_it(url: str) -> None:
    gateway = Gateway(seen())
    gateway.client(url).read("gen_1")
    assert str(gateway.requests[0].url) == f"{BASE}{PATH}/gen_1?wait=0"


@pytest.mark.parametrize(
    ("url", "requested", "with_key"),
    [
        (f"{BASE}{PATH}/gen_1/content?index=0", f"{BASE}{PATH}/gen_1/content?index=0", True),
        (f"{PATH}/gen_1/content?index=1", f"{BASE}{PATH}/gen_1/content?index=1", True),
        (f"https://public.example{PATH}/gen_1/content?index=0", f"{BASE}{PATH}/gen_1/content?index=0", True),
        ("https://files.example/a.mp4?x=1", "https://files.example/a.mp4?x=1", False),
    ],
)
def test_a_file_is_asked_for_with_the_key_at_the_gateway_alone(
    tmp_path: Path, url: str, requested: str, with_key: bool
) -> None:
    gateway = Gateway(httpx.Response(200, content=b"film"))
    size = gateway.client().download("gen_1", url, tmp_path / "a.mp4", lambda _: None)

    assert (size, (tmp_path / "a.mp4").read_bytes()) == (4, b"film")
    assert str(gateway.requests[0].url) == requested
    assert ("authorization" in gateway.requests[0].headers) is with_key


def test_the_key_does_not_follow_a_redirect_to_another_host(tmp_path: Path) -> None:
    elsewhere = httpx.Response(302, headers={"location": "https://files.example/a.mp4"})
    gateway = Gateway(elsewhere, httpx.Response(200, content=b"film"))
    gateway.client().download("gen_1", f"{PATH}/gen_1/content?index=0", tmp_path / "a.mp4", lambda _: None)
    assert ["authorization" in request.headers for request in gateway.requests] == [True, False]


def test_a_download_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    gateway = Gateway(httpx.ReadError("cut"), httpx.Response(403))
    with pytest.raises(Refused, match="HTTP 403"):
        gateway.client().download("gen_1", "https://files.example/a.mp4", tmp_path / "a.mp4", lambda _: None)
    assert list(tmp_path.iterdir()) == []


def made(*outputs: Output) -> Generation:
    return Generation(id="gen_1", status="completed", data=outputs)


@pytest.mark.parametrize(
    ("types", "output", "names"),
    [
        (["video/mp4"], "", ["gen_1.mp4"]),
        (["image/png"], "", ["gen_1.png"]),
        ([None, "video/mp4"], "", ["gen_1-0.mp4", "gen_1-1.mp4"]),
        (["video/mp4"], "a.mp4", ["a.mp4"]),
        (["video/mp4", None], "a.mp4", ["a.mp4", "a-1.mp4"]),
        (["video/mp4"], "folder/below", ["folder/below/gen_1.mp4"]),
        ([], "", []),
    ],
)
def test_where_files_are_kept(types: list[str | None], output: str, names: list[str]) -> None:
    outputs = [Output(index, "completed", "/x", kind) for index, kind in enumerate(types)]
    client = Gateway(httpx.Response(200, content=b"film")).client()
    assert download(client, made(*outputs, Output(9, "failed")), Path(output), print) == [Path(name) for name in names]
    assert all(Path(name).read_bytes() == b"film" for name in names)


# --- watching ---------------------------------------------------------------------------------------------------------


def test_following_outlasts_what_happens_to_the_network() -> None:
    gateway = Gateway(
        httpx.ConnectError("down"),
        seen("queued", tag='"1"'),
        httpx.ReadTimeout("late"),
        refused(503),
        *[httpx.ConnectError("down")] * 3,
        httpx.Response(304),
        seen("in_progress", tag='"2"'),
        seen("completed"),
    )
    shown, slept = Shown(), []  # type: ignore[var-annotated]  # of float
    follow(gateway.client(), "gen_1", shown, sleep=slept.append, clock=lambda: 0.0)

    assert shown.statuses == ["queued", "in_progress", "completed"]
    assert [note.rpartition(";")[2].strip() for note in shown.notes] == [
        "trying again for 600 s",
        "http://gateway.example answers again",
    ] * 2
    assert [request.url.params["wait"] for request in gateway.requests] == ["0", "0"] + ["5"] * 8
    assert [request.headers.get("if-none-match") for request in gateway.requests][1:4] == [None, '"1"', '"1"']
    assert max(slept) == 5.0


class Clock:
    """A monotonic clock that only a sleep moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.mark.parametrize(("give_up_seconds", "readings"), [(0, "1 reading"), (1.5, "3 readings"), (20, "8 readings")])
def test_following_gives_up_when_nobody_answers(give_up_seconds: float, readings: str) -> None:
    gateway, shown, clock = Gateway(httpx.ConnectError("down")), Shown(), Clock()
    with pytest.raises(GaveUp) as caught:
        follow(gateway.client(), "gen_1", shown, give_up_seconds=give_up_seconds, sleep=clock.sleep, clock=clock)
    assert str(caught.value) == (
        f"no answer from {BASE}: down; gave up after {readings} without an answer in {give_up_seconds:.0f} s"
    )
    assert clock.now == 1000.0 + give_up_seconds
    assert len(gateway.requests) == int(readings.split(maxsplit=1)[0])


def test_an_answer_starts_the_time_of_giving_up_again() -> None:
    down, clock = httpx.ConnectError("down"), Clock()
    gateway = Gateway(down, down, seen("queued"), down, down, seen("completed"))
    generation = follow(gateway.client(), "gen_1", Shown(), give_up_seconds=2, sleep=clock.sleep, clock=clock)
    assert generation.status == "completed"
    assert clock.now > 1002.0


def test_a_watch_that_gave_up_says_how_to_go_on_and_is_3(
    connected: Callable[..., Gateway], capsys: pytest.CaptureFixture[str]
) -> None:
    connected(httpx.ConnectError("down"))
    following = Following(output=Path("a.mp4"), give_up_seconds=0)
    assert watch("gen_1", Server(url=BASE), following) == 3
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"no answer from {BASE}: down; gave up after 1 reading without an answer in 0 s. The generation may still be "
        f"running; to go on: video-gateway watch gen_1 --url {BASE} --output a.mp4"
    )


def test_following_ends_when_it_is_refused() -> None:
    with pytest.raises(Refused, match="401"):
        follow(Gateway(refused(401)).client(), "gen_1", Shown(), sleep=lambda _: None)


@pytest.fixture
def connected(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Gateway]:
    """Makes the commands talk to a fake gateway that gives these answers."""

    def connect(*answers: Answer) -> Gateway:
        gateway = Gateway(*answers)
        monkeypatch.setattr(Server, "client", lambda self: gateway.client(self.url))
        return gateway

    return connect


@pytest.mark.parametrize("status", ["failed", "cancelled", "expired"])
def test_an_end_without_a_result_is_1(
    connected: Callable[..., Gateway], capsys: pytest.CaptureFixture[str], status: str
) -> None:
    attempt = {"number": 1, "provider": "p", "provider_model": "m", "status": "failed", "failure": "task_failed"}
    error = {"code": "a_code", "message": "a\x1b[2Jreason"}
    connected(seen(status, error=error, attempts=[attempt | {"billed": "maybe"}]))
    assert watch("gen_1", Server(), Following(output=None)) == 1
    errors = capsys.readouterr().err
    assert f"{status}: a_code: a [2Jreason\n" in errors
    assert "  attempt 1 p/m failed: task_failed (billed: maybe)\n" in errors


def test_a_file_that_is_gone_is_reported_and_1(
    connected: Callable[..., Gateway], capsys: pytest.CaptureFixture[str]
) -> None:
    output = {"index": 0, "status": "completed", "url": "https://files.example/a.mp4"}
    connected(seen(data=[output]), httpx.Response(403))
    assert watch("gen_1", Server(), Following(output=Path("a.mp4"))) == 1
    assert "completed, but its file cannot be downloaded: HTTP 403" in capsys.readouterr().err


def test_an_output_that_failed_beside_a_good_one_is_reported(
    connected: Callable[..., Gateway], capsys: pytest.CaptureFixture[str]
) -> None:
    bad = {"index": 1, "status": "failed", "error": {"code": "c", "message": "m"}}
    good = {"index": 0, "status": "completed", "url": "https://files.example/a.mp4"}
    connected(seen(data=[good, bad]))
    assert watch("gen_1", Server(), Following(output=None)) == 0
    captured = capsys.readouterr()
    assert captured.out.endswith("https://files.example/a.mp4\n")
    assert captured.err == "output 1: c: m\n"


def test_ctrl_c_before_an_answer_does_not_promise_anything(
    connected: Callable[..., Gateway], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    connected(seen())

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Client, "create", interrupt)
    assert generate({}, Server(), Following(output=None), wait=True) == 130
    assert "may have been accepted" in capsys.readouterr().err


def test_no_wait_leaves_with_the_generation(
    connected: Callable[..., Gateway], capsys: pytest.CaptureFixture[str]
) -> None:
    connected(seen("queued"))
    assert generate({}, Server(), Following(output=None), wait=False) == 0
    assert generate({}, Server(), Following(output=None, as_json=True), wait=False) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert (first, json.loads(second)["status"]) == ("gen_1", "queued")


# --- what is shown ----------------------------------------------------------------------------------------------------


def test_lines_come_when_something_changes(capsys: pytest.CaptureFixture[str]) -> None:
    failed = Attempt(1, "a", "b", "failed", "rate_limited", "Later.")
    running = Attempt(2, "c", "d", "in_progress")
    with progress() as show:
        show.generation(Generation("g", "queued"))
        show.generation(Generation("g", "queued"))
        show.generation(Generation("g", "queued", attempts=(failed,)))
        show.generation(Generation("g", "in_progress", progress=30, attempts=(failed, running)))
        show.generation(Generation("g", "completed", progress=100, provider="c", provider_model="d"))
        show.note("beside")
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert all(re.match(r"\d\d:\d\d:\d\d ", line) for line in lines)
    assert [line[9:] for line in lines] == [
        "queued 0%",
        "attempt 1 a/b failed: rate_limited: Later.",
        "in_progress 30% c/d",
        "completed 100% c/d",
    ]
    assert captured.err == "beside\n"


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def test_a_terminal_has_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with progress() as show:
        show.generation(Generation("g", "in_progress", progress=30, attempts=(Attempt(1, "[b]a", "b", "f", "x", "y"),)))
        show.generation(Generation("g", "completed", progress=100, provider="c", provider_model="d"))
    shown = terminal.getvalue()
    assert "attempt 1 [b]a/b f: x: y" in shown
    assert "━" in shown
    assert "100%" in shown
    assert "c/d" in shown


def test_a_reader_that_has_gone_is_not_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(io.StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stdout", Gone())
    say("anything")


# --- options ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def bodies(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    received: list[dict[str, Any]] = []

    def record(body: dict[str, Any], *_: object, **__: object) -> int:
        received.append(body)
        return 0

    monkeypatch.setattr("gateway.cli.run_generate", record)
    return received


def test_only_what_was_given_is_sent(bodies: list[dict[str, Any]]) -> None:
    assert run("generate", "waves", "--model=m").exit_code == 0
    assert bodies == [{"model": "m", "prompt": "waves"}]


def test_every_option_is_a_field(bodies: list[dict[str, Any]]) -> None:
    Path("first.png").write_bytes(PNG)
    options = (
        "--image=first.png --last-image=https://a.example/b.png --reference=file_abc --reference=data:x --duration=5"
        " --resolution=720p --aspect-ratio=16:9 --n=2 --no-audio --negative-prompt=rain --adapt --metadata=a=b=c"
    )
    done = run("generate", "waves", "--model=m", *options.split(), '--provider-options={"keevx":{"x":1}}')
    assert done.exit_code == 0, done.output
    (body,) = bodies
    assert body.pop("image").startswith("data:image/png;base64,iVBORw0KGgo")
    assert body == {
        "model": "m",
        "prompt": "waves",
        "last_image": "https://a.example/b.png",
        "reference_images": ["file_abc", "data:x"],
        "duration": 5,
        "resolution": "720p",
        "aspect_ratio": "16:9",
        "n": 2,
        "generate_audio": False,
        "negative_prompt": "rain",
        "adapt": "nearest",
        "metadata": {"a": "b=c"},
        "provider_options": {"keevx": {"x": 1}},
    }


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model=m", "--image=nowhere.png"], "cannot be read"),
        (["--model=m", "--image=text.png"], "bytes that are not a JPEG, PNG"),
        (["--model=m", "--metadata=x"], "NAME=VALUE"),
        (["--model=m", "--provider-options=[]"], "object"),
        (["--model=m", "--provider-options={"], "JSON"),
        (["--model=m", "--url=nowhere"], "http"),
        ([], "--model"),
    ],
)
def test_wrong_usage_is_2(arguments: list[str], words: str) -> None:
    Path("text.png").write_text("text")
    done = run("generate", "waves", *arguments)
    assert done.exit_code == 2
    assert words in re.sub(r"[│\s]+", " ", done.output)


def test_wrong_settings_of_the_sandbox_are_2() -> None:
    unknown, garbled = run("sandbox", "--port=0", "--set=nothing=1"), run("sandbox", "--set=total_seconds={")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = run("sandbox", f"--port={taken.getsockname()[1]}")
    assert [done.exit_code for done in (unknown, garbled, port)] == [2, 2, 2]
    assert "--port" in port.output


def test_a_word_among_the_settings_of_the_sandbox_needs_no_quotes() -> None:
    for value in ("D", '"D"'):
        done = run("sandbox", "--port=0", f"--set=relay_regime={value}")
        assert (done.exit_code, "relay_regime" in done.output) == (2, True), "the value is read, and it is not a regime"


def test_a_demo_without_its_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    done = run("demo")
    assert done.exit_code == 2
    assert "video-gateway[demo]" in done.output


def test_a_demo_without_an_image_asks_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.commands.demo.IMAGE", Path("nowhere.jpg"))
    done = run("demo")
    assert done.exit_code == 2
    assert "--image" in done.output


def test_the_document_is_printed_written_and_compared() -> None:
    printed = run("openapi")
    assert run("openapi", "--output=folder/openapi.json").exit_code == 0
    same = run("openapi", "--check=folder/openapi.json")
    Path("folder/openapi.json").write_text(printed.output.replace("video-gateway", "other"))
    drifted = run("openapi", "--check=folder/openapi.json")
    absent = run("openapi", "--check=nowhere.json")

    assert json.loads(printed.output) == document()
    assert "\\n    " not in printed.output, "a docstring's indentation depends on the version of Python"
    assert printed.output.endswith("}\n")
    assert [done.exit_code for done in (printed, same, drifted, absent)] == [0, 0, 1, 1]
    assert "video-gateway openapi --output folder/openapi.json" in drifted.output


def test_a_wrong_configuration_is_one_line_for_each_fault_and_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also faults that only the adapters know, and those beside a table that cannot be read."""
    Path("video-gateway.toml").write_text(
        "[providers.nobody]\n"
        "[providers.keevx]\napi_key = 'env:K'\nform = 'x'\nmodels.a.like = 'b'\n"
        "[providers.foxapi]\napi_key = 'env:K'\nmodels.a.like = 'b'\n"
    )
    monkeypatch.setenv("K", "a-key-of-a-provider")
    monkeypatch.setattr(sys, "argv", ["video-gateway", "serve"])
    with pytest.raises(SystemExit) as ended:
        main()
    lines = capsys.readouterr().err.splitlines()
    assert ended.value.code == 2
    assert [line.partition(":")[0] for line in lines] == [
        "providers.nobody",
        "providers.keevx.form",
        "providers.keevx.models.a.like",
        "providers.foxapi.models.a.like",
    ]


def test_a_misspelt_key_is_named_with_the_right_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("video-gateway.toml").write_text("[server]\nprot = 1\n")
    monkeypatch.setattr(sys, "argv", ["video-gateway", "models"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert capsys.readouterr().err == 'server.prot: unknown key; did you mean "port"?\n'


LATE = """
import atexit, sys
from gateway import cli
class Late:
    def __del__(self):
        print("cleaned up")
late = Late()
atexit.register(print, "registered")
sys.argv = ["video-gateway", *sys.argv[1:]]
cli.program()
"""


@pytest.mark.parametrize(("argument", "code"), [("--version", 0), ("--no-such-option", 2)])
def test_the_program_ends_without_the_clean_up_in_which_threads_of_libraries_abort_it(argument: str, code: int) -> None:
    done = subprocess.run([sys.executable, "-c", LATE, argument], capture_output=True, text=True, check=False)  # noqa: S603  # our own code
    assert done.returncode == code
    assert done.stdout.splitlines()[-1] == "registered"


# --- check ------------------------------------------------------------------------------------------------------------


def test_check_shows_what_is_there_and_makes_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FOXAPI_API_KEY", "sk-a-real-key")
    done = run("check")
    assert done.exit_code == 0, done.output
    assert "sk-a-real-key" not in done.output
    for line in ("no file", "will be made at the first start", "(the adapter's own), key present", "first after 5 s"):
        assert line in done.output
    for line in (
        r"public_url +not set: no callbacks, no signed links to inputs",
        r"keep_days +results 30, uploaded files 30",
        r"fetch +public addresses",
        r"webhooks +a secret for each client key",
        r"models +and 9 more, one for each route: .*",
        r"result +good to start",
    ):
        assert re.search(rf"^{line}$", done.output, re.MULTILINE), (line, done.output)
    assert len(done.output.splitlines()) < 30
    assert list(tmp_path.iterdir()) == []


def test_check_shows_what_matters_and_each_model_by_its_routes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("A", "B", "C"):
        monkeypatch.setenv(name, f"a-long-enough-key-{name}")
    monkeypatch.setenv("HOOKS", "whsec_" + "YWJj" * 8)
    Path("video-gateway.toml").write_text(
        """
        [server]
        public_url = "https://videos.example"
        api_keys = ["env:A", "env:B"]
        admin_keys = ["env:C"]
        [files]
        keep_days = 2
        [clients.shop]
        models = ["auto"]
        [fetch]
        allow = ["10.0.0.0/8"]
        [webhooks]
        secret = "env:HOOKS"
        [providers.kling_relay]
        api_key = "env:A"
        [providers.keevx]
        api_key = "env:A"
        [providers.keevx.models.V]
        prices = [{resolution = "720p", per_second = 0.1}, {per_clip = 1}]
        [providers.keevx.models.image]
        prices = [{per_clip = 0.2}]
        [models.hero]
        routes = ["keevx/V"]
        order = "cheapest"
        """
    )
    done = run("check")
    price = r"\(0\.1 USD a second 720p, else 1 USD a clip\)"
    relay = "kling_relay/kling-v1, kling_relay/kling-v1-6, kling_relay/kling-v2-master"
    for line in (
        r"server +\S+, open to 2 client keys, 1 named client and 1 admin key",
        r"public_url +https://videos\.example",
        r"keep_days +results 30, uploaded files 2",
        r"fetch +public addresses, 10\.0\.0\.0/8",
        r"webhooks +the secret is configured",
        r"drain_seconds +125: a stop takes this long at most; the supervisor must wait longer .*",
        # In the order of the providers in the file.
        rf"model +auto, 6 routes: {relay},\n +keevx/V {price}, keevx/KL, keevx/image \(0\.2 USD an image\)",
        r"model +kling, 3 routes: kling_relay/kling-v2-master, .*",
        rf"model +hero, 1 route, cheapest: keevx/V {price}",
        r"models +and 6 more, one for each route: .*",
    ):
        assert re.search(rf"^{line}$", done.output, re.MULTILINE), (line, done.output)


def test_check_warns_of_a_stop_that_would_cut_off_a_submit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KLING_RELAY_API_KEY", "a-key")
    monkeypatch.setenv("KLING_RELAY_BASE_URL", "https://relay.example")
    Path("video-gateway.toml").write_text("[server]\ndrain_seconds = 30\n")
    done = run("check")
    assert done.exit_code == 0, done.output
    assert re.search(r"^warning +server\.drain_seconds: 30 s is shorter than the 125 s", done.output, re.MULTILINE)


def test_check_says_once_that_there_is_no_provider() -> None:
    done = run("check")
    assert done.exit_code == 2
    (line,) = re.findall(r".*(?:_API_KEY|none is|not configured).*", done.output)
    assert re.match(r"providers +ERROR providers: none is configured; set one of FOXAPI_API_KEY, KEEVX_API_KEY, ", line)


def test_models_without_a_provider_names_the_option_for_a_running_gateway() -> None:
    done = run("models")
    assert isinstance(done.exception, ConfigurationError)
    message = str(done.exception)
    assert message.startswith("providers: none is configured; ")
    assert message.endswith("; the models of a running gateway: --url http://127.0.0.1:8080")


def test_check_tells_the_errors_of_every_provider() -> None:
    Path("video-gateway.toml").write_text(
        """
        [server]
        drain_seconds = 1.5
        [providers.keevx]
        api_key = "env:NOWHERE"
        [providers.foxapi]
        api_key = "env:PATH"
        poll_secs = 3
        [providers."odd name"]
        enabled = true
        [providers.kling_relay]
        api_key = "file:key"
        base_url = "http://relay.example"
        models = ["kling-v1"]
        form = "nothing"
        [models.hero]
        routes = ["keevx/V", "kling_relay/kling-v1"]
        [models.other]
        routes = [2000-01-01, 1.5, true]
        """
    )
    Path("key").write_text("a-key\n")
    done = run("check")
    assert done.exit_code == 2
    for line in (
        r"^keevx +ERROR providers\.keevx\.api_key: missing: .*NOWHERE",
        r'^foxapi +ERROR providers\.foxapi\.poll_secs: unknown key; did you mean "poll_seconds"\?',
        r'^odd name +ERROR providers\."odd name": no such provider',
        r"^kling_relay +ERROR providers\.kling_relay\.form: ",
        r"^warning +providers\.kling_relay\.base_url: http;",
        r"^other +ERROR models\.other\.routes\[0\]: expected",
        r"^result +does not start: 5 errors",
    ):
        assert re.search(line, done.output, re.MULTILINE), (line, done.output)
    assert "the route is left out" not in done.output


def test_a_client_starts_without_the_server() -> None:
    program = "import gateway.cli, sys; print(*{'apsw', 'litestar', 'obstore', 'uvicorn'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)  # noqa: S603  # a fixed program
    assert done.stdout.split() == []


def test_check_tells_of_a_file_that_cannot_be_read() -> None:
    done = run("check", "--config=nowhere.toml")
    assert done.exit_code == 2
    assert re.search(r"^configuration +ERROR nowhere\.toml: the configuration cannot be read", done.output)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("[database]\nurl = 'sqlite:///nowhere/a.db'", "database.url: the folder"),
        ("[database]\nurl = 'sqlite:///text.db'", "database.url: cannot use"),
        ("[artifacts]\nurl = 'file:text.db/below'", "artifacts.url: "),
        ("[artifacts]\nurl = 's3://bucket'\nfolder = 'text.db/below'", "artifacts.folder: "),
        ("[artifacts]\nurl = 'az://bucket'", "artifacts.url: az://bucket: "),
        ("[artifacts]\nendpoint = 'http://127.0.0.1'", "artifacts.endpoint: only where"),
        ("[models.hero]\nroutes = ['keevx/W']", "models.hero.routes[0]"),
        ("[models.hero]\nroutes = []", "models.hero.routes"),
    ],
)
def test_check_finds_what_would_stop_a_start(monkeypatch: pytest.MonkeyPatch, section: str, message: str) -> None:
    monkeypatch.setenv("KEEVX_API_KEY", "a-key")
    Path("text.db").write_text("no database" * 100)
    Path("video-gateway.toml").write_text(section)
    done = run("check")
    assert done.exit_code == 2
    assert f"ERROR {message}" in done.output


def test_check_tells_when_a_provider_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEEVX_API_KEY", "a-key")
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("KEEVX_BASE_URL", f"https://127.0.0.1:{server.getsockname()[1]}")
        monkeypatch.setattr("gateway.upstream.key_tests.TEST_SECONDS", 0.1)
        no_tls = run("check", "--connect")
        monkeypatch.setenv("KEEVX_BASE_URL", f"http://127.0.0.1:{server.getsockname()[1]}")
        silent = run("check", "--connect")
    gone = run("check", "--connect")
    assert [done.exit_code for done in (no_tls, silent, gone)] == [1, 1, 1]
    assert "starts, but cannot reach keevx" in gone.output
    for done in (no_tls, silent, gone):
        assert re.search(r"^keevx +UNREACHABLE https?://127\S+: \S", done.output, re.MULTILINE), done.output
        assert "ERROR" not in done.output


def test_check_tells_when_a_bucket_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEEVX_API_KEY", "a-key")
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_server(("127.0.0.1", 0)) as other:
        monkeypatch.setenv("KEEVX_BASE_URL", f"http://127.0.0.1:{server.getsockname()[1]}")
        port = other.getsockname()[1]
        other.close()
        Path("video-gateway.toml").write_text(
            f"[artifacts]\nurl = 's3://bucket'\nendpoint = 'http://127.0.0.1:{port}'\n"
            "access_key_id = 'env:KEEVX_API_KEY'\nsecret_access_key = 'env:KEEVX_API_KEY'\n"
        )
        tried, untried = run("check", "--connect"), run("check")
    assert (tried.exit_code, untried.exit_code) == (1, 0)
    where = f"s3://bucket at http://127.0.0.1:{port}"
    line = f"^artifacts +UNREACHABLE {where}: no connection; check artifacts.endpoint$"
    assert re.search(line, tried.output, re.MULTILINE), tried.output
    assert "starts, but cannot reach the bucket" in tried.output
    assert "ERROR" not in tried.output
    line = r"^artifacts +s3://bucket \(not tried: --connect does\); copies of inputs in "
    assert re.search(line, untried.output, re.MULTILINE)


def test_a_provider_that_is_off_is_shown_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEEVX_API_KEY", "a-key")
    Path("video-gateway.toml").write_text("[providers.foxapi]\nenabled = false\n")
    assert re.search(r"^foxapi +off", run("check").output, re.MULTILINE)


# --- listening --------------------------------------------------------------------------------------------------------


def test_a_name_with_two_addresses_has_one_port() -> None:
    sockets = listen("localhost", 0)
    try:
        assert len({listener.getsockname()[1] for listener in sockets}) == 1
        assert url_of(sockets[0]).startswith("http://")
    finally:
        for listener in sockets:
            listener.close()


@pytest.mark.parametrize(
    ("host", "words"),
    [("no-such-host.invalid", "cannot be resolved"), ("192.0.2.1", "is not an address of this machine")],
)
def test_a_host_that_is_not_here_is_reported(host: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"server\.host: {re.escape(host)} {words}"):
        listen(host, 0)


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (("watch", "gen_1"), "api-key"),
        (("generate", "a cat", "--model", "m"), "api-key"),
        (("models",), "api-key"),
        (("usage",), "api-key"),
        (("usage",), "admin-key"),
        (("attempts",), "admin-key"),
        (("attempts", "fail", "att_1"), "admin-key"),
    ],
)
def test_a_key_among_the_arguments_is_refused_with_the_safe_ways(arguments: tuple[str, ...], option: str) -> None:
    result = run(*arguments, f"--{option}", "vg_0123456789abcdef")
    text = " ".join(result.output.replace("│", " ").split())
    assert result.exit_code == 2
    assert f"VIDEO_GATEWAY_{option.upper().replace('-', '_')}, or name a file with --{option}-file" in text
    assert "vg_0123456789abcdef" not in text


def test_a_key_is_read_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys: list[str | None] = []
    monkeypatch.setattr("gateway.cli.run_watch", lambda _id, server, _how: keys.append(server.api_key) or 0)
    file = tmp_path / "key"
    file.write_text("vg_of_the_file\n")
    monkeypatch.setenv("VIDEO_GATEWAY_API_KEY", "vg_of_the_environment")
    run("watch", "gen_1", "--api-key-file", str(file))
    run("watch", "gen_1")
    missing = run("watch", "gen_1", "--api-key-file", str(tmp_path / "nothing"))
    assert keys == ["vg_of_the_file", "vg_of_the_environment"]
    assert missing.exit_code == 2
