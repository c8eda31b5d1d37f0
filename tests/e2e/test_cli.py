"""The commands other than `serve`, run as processes against a gateway that uses the sandbox."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import av
import httpx
import pytest
from PIL import Image

SOON = 20.0  # seconds
IMAGE_URL = "https://example.com/first.jpg"
Run = Callable[..., "subprocess.CompletedProcess[str]"]


def spawn(folder: Path, *arguments: str, **environ: str) -> "subprocess.Popen[str]":
    plain = {name: value for name, value in os.environ.items() if not name.endswith(("_API_KEY", "_BASE_URL"))}
    return subprocess.Popen(  # noqa: S603  # our own program
        [sys.executable, "-m", "gateway", *arguments],
        cwd=folder,
        env=plain | environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        bufsize=1,
    )


def line_with(process: "subprocess.Popen[str]", pattern: str, *, logged: bool = False) -> str:
    """The group of the next line of output, or of the log, that matches the pattern."""
    stream = process.stderr if logged else process.stdout
    assert stream is not None
    deadline = threading.Timer(SOON, process.kill)  # so that the loop below ends
    deadline.start()
    try:
        for line in iter(stream.readline, ""):
            if match := re.search(pattern, line):
                return match[1]
    finally:
        deadline.cancel()
    raise AssertionError(f"{pattern} was not printed: {process.communicate()}")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Runs a gateway with one client key; the variables with which a client reaches it."""
    folder = tmp_path_factory.mktemp("running")
    changes = ("queued_seconds=0.1", "total_seconds=1", "max_short_side=64")
    sandbox = spawn(folder, "sandbox", "--port=0", *(f"--set={change}" for change in changes))
    upstream = line_with(sandbox, r"sandbox on (http://[^;]+)")
    exported = line_with(sandbox, r"export (KEEVX_\S+ KEEVX_\S+)$")
    environ = dict(pair.split("=", 1) for pair in exported.split())
    assert environ == {"KEEVX_API_KEY": "sandbox-key", "KEEVX_BASE_URL": f"{upstream}/keevx/v1"}
    (folder / "video-gateway.toml").write_text(
        "[providers.keevx]\nfirst_poll_seconds = 0.2\npoll_seconds = 0.2\npoll_max_seconds = 0.4\n"
        '[models.hero]\nroutes = ["keevx/V"]\nadapt = "nearest"\n'
        '[models.careful]\nroutes = ["keevx/V"]\non_ambiguous = "hold"\n'
    )
    key = {"VIDEO_GATEWAY_API_KEY": "vg_a-key-of-a-client"}
    admin = {"VIDEO_GATEWAY_ADMIN_KEY": "vg_the-key-of-an-operator"}
    gateway = spawn(folder, "serve", "--port=0", **environ, **key, **admin)
    url = line_with(gateway, r"listening on (http://\S+)")
    yield {"VIDEO_GATEWAY_URL": url, "FOLDER": str(folder), "SANDBOX": upstream, **key, **admin, **environ}
    for process in (gateway, sandbox):
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=SOON)
        assert process.returncode == 0


@pytest.fixture
def run(running: dict[str, str], tmp_path: Path) -> Run:
    """Runs a command against the running gateway."""

    def runner(*arguments: str, **environ: str) -> "subprocess.CompletedProcess[str]":
        process = spawn(tmp_path, *arguments, **(running | environ))
        out, err = process.communicate(timeout=SOON)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    return runner


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "first.png"
    Image.new("RGB", (640, 360), "teal").save(path)
    return path


def is_video(path: Path) -> bool:
    with av.open(str(path)) as container:
        return bool(container.streams.video) and container.format.name.startswith("mov")


def test_generate_makes_a_file_from_a_file(run: Run, image: Path, tmp_path: Path) -> None:
    made = run("generate", "waves", "--model=keevx/V", f"--image={image}", "--n=2", "--output=results")

    assert made.returncode == 0, made.stderr
    lines = made.stdout.splitlines()
    assert re.fullmatch(r"gen_\w+ keevx/V", lines[0])
    assert re.fullmatch(r"\d\d:\d\d:\d\d in_progress \d+% keevx/V", lines[-4])
    assert re.fullmatch(r"\d\d:\d\d:\d\d completed 100% keevx/V", lines[-3])
    assert all(is_video(tmp_path / path) for path in lines[-2:])
    assert {Path(path).parent.name for path in lines[-2:]} == {"results"}


def test_generate_makes_images_and_watch_finds_them(run: Run, image: Path, tmp_path: Path) -> None:
    made = run("generate", "a lake", "--kind=image", "--model=image", f"--reference={image}", "--quality=1K", "--n=2")
    assert made.returncode == 0, made.stderr
    generation = made.stdout.split()[0]
    for path in made.stdout.splitlines()[-2:]:
        assert path.startswith(generation)
        with Image.open(tmp_path / path) as picture:
            picture.load()

    watched = run("watch", generation, "--output=again")
    assert watched.returncode == 0, watched.stderr
    assert len(list((tmp_path / "again").iterdir())) == 2

    refused = run("generate", "a lake", "--model=keevx/image")
    assert (refused.returncode, "/v1/images/generations" in refused.stderr) == (2, True)
    assert "--kind image" in refused.stderr


def test_generate_without_a_result_says_why(run: Run, image: Path, tmp_path: Path) -> None:
    prompt = "waves [[sandbox:keevx:submit:fail_content]]"
    made = run("generate", prompt, "--model=keevx/V", f"--image={image}")

    assert made.returncode == 1
    assert re.search(r"^failed: content_policy\w*: .", made.stderr, re.MULTILINE), made.stderr
    assert re.search(r"^  attempt 1 keevx/V failed: content_policy", made.stderr, re.MULTILINE)
    assert not list(tmp_path.glob("*.mp4"))


def test_a_refused_request_is_2(run: Run) -> None:
    unknown = run("generate", "waves", "--model=keevx/W")
    keyless = run("generate", "waves", "--model=keevx/V", VIDEO_GATEWAY_API_KEY="vg_another-key")
    silent = run("watch", "gen_nothing")

    assert [done.returncode for done in (unknown, keyless, silent)] == [2, 2, 2]
    assert re.fullmatch(r"HTTP 404 model_not_found: .*keevx/V.*\n", unknown.stderr)
    assert re.fullmatch(r"HTTP 401 invalid_api_key: .*\n", keyless.stderr)
    assert re.fullmatch(r"HTTP 404 not_found: .*\n", silent.stderr)


def test_ctrl_c_stops_watching_and_watch_goes_on(
    run: Run, running: dict[str, str], image: Path, tmp_path: Path
) -> None:
    client = spawn(tmp_path, "generate", "waves", "--model=keevx/V", f"--image={image}", **running)
    generation = line_with(client, r"^(gen_\w+)")
    line_with(client, r"(queued|in_progress)")
    client.send_signal(signal.SIGINT)
    _, err = client.communicate(timeout=SOON)
    command = err.strip().removeprefix("still running: video-gateway ").split()
    watched = run(*command, "--output=later.mp4")

    assert client.returncode == 130
    assert command == ["watch", generation, "--url", running["VIDEO_GATEWAY_URL"], "--output", "."]
    assert watched.returncode == 0, watched.stderr
    assert watched.stdout.splitlines()[-1] == "later.mp4"
    assert is_video(tmp_path / "later.mp4")


def test_json_is_all_that_is_on_standard_output(run: Run, image: Path) -> None:
    left = run("generate", "waves", "--model=hero", f"--image={image}", "--no-wait", "--metadata=order=12", "--adapt")
    watched = run("watch", left.stdout.strip(), "--json")
    shown = run("watch", left.stdout.strip())

    assert left.returncode == 0, left.stderr
    done: dict[str, Any] = json.loads(watched.stdout)
    assert (done["status"], done["model"], done["metadata"]) == ("completed", "hero", {"order": "12"})
    assert "completed 100% keevx/V" in watched.stderr
    assert shown.stdout.splitlines()[-1] == done["data"][0]["url"]


def test_attempts_that_are_held_are_listed_and_decided_about(run: Run, running: dict[str, str]) -> None:
    key = {"authorization": f"Bearer {running['VIDEO_GATEWAY_API_KEY']}"}
    gateway = httpx.Client(base_url=running["VIDEO_GATEWAY_URL"] + "/v1/videos/generations", headers=key)
    body = {"model": "careful", "prompt": "waves [[sandbox:keevx:submit:close_after_accept]]", "image": IMAGE_URL}

    def hold() -> tuple[str, str]:
        """A generation whose submit got no reply, and the id of the attempt."""
        made = gateway.post("", json=body).raise_for_status().json()["id"]
        deadline = time.monotonic() + SOON
        while [attempt["status"] for attempt in gateway.get(f"/{made}").json()["attempts"]] != ["unknown"]:
            assert time.monotonic() < deadline, "it is not held"
        return made, f"{made.replace('gen_', 'att_')}_1"

    first, attached = hold()
    second, failed = hold()
    third, repeated = hold()
    listed = run("attempts")
    as_json = json.loads(run("attempts", "--state=unknown", "--json").stdout)
    started = httpx.get(f"{running['SANDBOX']}/_sandbox/state").json()["tasks"]
    task = next(attempt["id"] for attempt in started if "close_after_accept" in attempt["prompt"])
    done = [run("attempts", "attach", attached, task), run("attempts", "fail", failed, "--json")]
    done.append(run("attempts", "resubmit", repeated))
    again = run("attempts", "resubmit", repeated)
    client = run("attempts", VIDEO_GATEWAY_ADMIN_KEY=running["VIDEO_GATEWAY_API_KEY"])

    assert [line.split()[:3] for line in listed.stdout.splitlines()] == [
        [attempt, "keevx/V", "held"] for attempt in (attached, failed, repeated)
    ]
    assert [attempt["id"] for attempt in as_json["data"]] == [attached, failed, repeated]
    assert [attempt.returncode for attempt in done] == [0, 0, 0], done
    assert done[0].stdout.startswith(f"{attached} keevx/V accepted {task}; sent 2")
    assert json.loads(done[1].stdout)["decision"] == "fail"
    assert re.search(r"unknown, sent again after \S+Z, billed: maybe; sent", done[2].stdout)
    assert (again.returncode, again.stderr[:19]) == (2, "HTTP 409 conflict: ")
    assert (client.returncode, client.stderr[:25]) == (2, "HTTP 403 admin_required: ")
    misplaced = run("attempts", "--url=http://127.0.0.1:9", "fail", repeated)
    assert (misplaced.returncode, "put options after the subcommand: attempts fail ID" in misplaced.stderr) == (2, True)
    for state in ("held", "unknown"):
        listed = run("attempts", f"--state={state}")
        message = "no attempt is held\n" if state == "held" else ""
        assert (listed.returncode, listed.stdout == "", listed.stderr) == (0, bool(message), message)
    assert json.loads(run("attempts", "--json").stdout)["data"] == []
    assert run("watch", first).returncode == 0
    assert "submission_unknown" in run("watch", second).stderr
    assert len(httpx.get(f"{running['SANDBOX']}/_sandbox/state").json()["tasks"]) == len(started)
    gateway.post(f"/{third}/cancel").raise_for_status()
    gateway.close()


def test_attempts_without_an_operator_s_key_say_which_one_is_missing(run: Run) -> None:
    needed = (
        "this command needs an operator's key: --admin-key-file or VIDEO_GATEWAY_ADMIN_KEY, as the gateway has it\n"
    )
    listed, decided = (run(*words, VIDEO_GATEWAY_ADMIN_KEY="") for words in (["attempts"], ["attempts", "fail", "a"]))
    assert [(done.returncode, done.stdout, done.stderr) for done in (listed, decided)] == [(2, "", needed)] * 2
    wrong = run("attempts", VIDEO_GATEWAY_ADMIN_KEY="vg_another-key")
    assert wrong.stderr.startswith("HTTP 401 invalid_api_key: The admin key is not known; ")


def test_a_bucket_that_does_not_answer_is_logged_and_delays_nothing(tmp_path: Path) -> None:
    key = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "KEEVX_API_KEY": "sandbox"}
    with ExitStack() as stack:
        silent = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        (tmp_path / "video-gateway.toml").write_text(f"[artifacts]\nurl = 's3://videos'\nendpoint = '{endpoint}'\n")
        started = [
            spawn(tmp_path, "serve", "--port=0", VIDEO_GATEWAY_DATABASE_URL=f"sqlite:///{name}.db", **key)
            for name in ("left", "stopped")
        ]
        for gateway in started:
            stack.enter_context(gateway)
            stack.callback(gateway.kill)
        for gateway in started:
            url = line_with(gateway, r"listening on (http://\S+)")
            assert httpx.get(f"{url}/health/ready").status_code == 200
        left, stopped = started
        stopped.send_signal(signal.SIGTERM)  # while the first try of the bucket is still running
        logs = [stopped.communicate(timeout=SOON)[1]]
        silent.close()
        reason = line_with(left, r'"event":"bucket_unreachable","reason":"([^"]+)"', logged=True)
        left.send_signal(signal.SIGTERM)
        logs.append(left.communicate(timeout=SOON)[1])

    assert reason == "artifacts.url: no connection; check artifacts.endpoint"
    assert [gateway.returncode for gateway in started] == [0, 0]
    # The threads of obstore may write to standard error when the interpreter ends during their work.
    ours = [[line for line in log.splitlines() if line.startswith("{")] for log in logs]
    assert [json.loads(lines[-1])["event"] for lines in ours] == ["stopped"] * 2
    assert "bucket" not in "".join(ours[0])


def test_models_of_a_running_gateway_and_of_a_configuration(run: Run, running: dict[str, str]) -> None:
    remote = run("models")
    configured = run("models", "--config", str(Path(running["FOLDER"], "video-gateway.toml")))
    hero = run("models", "hero", "--json")
    none = run("models", "keevx/W")
    local = run("models", "keevx/W", VIDEO_GATEWAY_URL="")

    assert remote.returncode == configured.returncode == hero.returncode == 0, remote.stderr + configured.stderr
    assert remote.stdout == configured.stdout
    assert re.search(r"hero .*→ keevx/V.*\n.*image", remote.stdout)
    assert json.loads(hero.stdout)["routes"][0]["provider_model"] == "V"
    assert (none.returncode, local.returncode) == (2, 2)
    assert "keevx/V" in local.stderr


def test_check_leaves_a_running_gateway_alone(run: Run, running: dict[str, str]) -> None:
    folder = Path(running["FOLDER"])
    before = sorted(path.name for path in folder.iterdir())
    database = {"VIDEO_GATEWAY_DATABASE_URL": f"sqlite:///{folder}/video-gateway.db"}
    checked = run("check", "--connect", "--config", str(folder / "video-gateway.toml"), **database)

    assert checked.returncode == 0, checked.stdout
    assert "a gateway is running on it" in checked.stdout
    assert re.search(r"^keevx +reached by TCP", checked.stdout, re.MULTILINE)
    assert re.search(r"^foxapi +not configured; FOXAPI_API_KEY", checked.stdout, re.MULTILINE)
    assert running["KEEVX_API_KEY"] not in re.sub(r"https?://\S+", "", checked.stdout).split()
    assert sorted(path.name for path in folder.iterdir()) == before


def test_demo_makes_a_video_and_names_it_last(tmp_path: Path, image: Path) -> None:
    demo = spawn(tmp_path, "demo", f"--image={image}", "--model=kling_relay/kling-v1", "--serve")
    try:
        command = line_with(demo, r"^  (curl .*)$")
        assert demo.stdout is not None
        assert "until Ctrl-C" in demo.stdout.readline()
        path = demo.stdout.readline().strip()
        pasted = subprocess.run(  # noqa: S602  # the command that a person pastes into a shell
            command, shell=True, cwd=tmp_path, capture_output=True, timeout=SOON, check=True
        )
    finally:
        demo.send_signal(signal.SIGINT)
        out, err = demo.communicate(timeout=SOON)

    assert (demo.returncode, out, err) == (0, "", "")
    assert is_video(tmp_path / path)
    again = json.loads(pasted.stdout)
    assert (again["status"], again["model"]) == ("queued", "kling_relay/kling-v1")
    assert {path.name for path in tmp_path.iterdir()} == {"demo-output", "first.png"}


def test_a_demo_that_ends_prints_nothing_that_has_ended_with_it(tmp_path: Path, image: Path) -> None:
    demo = spawn(tmp_path, "demo", f"--image={image}", "--model=kling_relay/kling-v1")
    out, err = demo.communicate(timeout=SOON)
    results = out.partition("\nid ")[2]  # the line before it names the servers while they run

    assert (demo.returncode, err) == (0, "")
    assert is_video(tmp_path / out.splitlines()[-1])
    assert "make demo SERVE=1" in results
    assert "http://" not in results
    assert "curl" not in results


def test_watching_a_gateway_that_is_gone_ends_with_3(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
    watching = spawn(tmp_path, "watch", "gen_1", f"--url={url}", "--give-up-after=1")
    out, err = watching.communicate(timeout=SOON)

    assert (watching.returncode, out) == (3, "")
    assert re.search(rf"gave up after \d readings .* to go on: video-gateway watch gen_1 --url {url}\n$", err), err


def test_a_demo_that_cannot_finish_says_why(tmp_path: Path, image: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        taken = spawn(tmp_path, "demo", f"--image={image}", f"--port={port}")
        failing = spawn(tmp_path, "demo", f"--image={image}", "--prompt=[[sandbox:any:submit:fail_content]]")
        stopped = spawn(tmp_path, "demo", f"--image={image}")
        unknown = spawn(tmp_path, "demo", f"--image={image}", "--model=nothing")
        line_with(stopped, r"(in_progress)")
        stopped.send_signal(signal.SIGINT)
        errors = {demo: demo.communicate(timeout=SOON)[1] for demo in (taken, failing, stopped, unknown)}

    assert [demo.returncode for demo in errors] == [2, 1, 130, 2]
    assert errors[taken].startswith(f"server.port: {port} on 127.0.0.1 is taken")
    assert errors[failing].startswith("failed: ")
    assert errors[stopped] == ""
    assert errors[unknown].startswith("HTTP 404 model_not_found")
