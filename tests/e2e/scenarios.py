"""The table of scenarios: what the providers do, and the outcome that is required. `make scenarios` prints it.

The name of a fault is the sandbox's: see gateway/sandbox/faults.py and each provider's own errors beside it.
"""

import asyncio
import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, permutations
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from .conftest import PROVIDERS
from .scenario import (
    MADE,
    NOW,
    ROUTE,
    Fault,
    Line,
    Made,
    Scenario,
    Span,
    alone,
    broken,
    fails,
    falls_back,
    maybe,
    never_ends,
    no,
    ok,
    play,
    plus,
    table,
)
from .test_load import half_fail

PAIRS = tuple(permutations(PROVIDERS, 2))
ROUND = tuple(zip(PROVIDERS, (*PROVIDERS[1:], PROVIDERS[0]), strict=True))  # each is first once and second once
LOST: Mapping[str, Span] = {"keevx": (111, 120), "kling_relay": (82.5, 90), "foxapi": (125, 130)}
FILELESS: Mapping[str, Span] = {"keevx": (111, 120), "kling_relay": (92.8, 101.6), "foxapi": (129.5, 145)}
LATE_FILE: Mapping[str, Span] = {"keevx": (84, 90), "kling_relay": (45.3, 48.8), "foxapi": (22.1, 24.1)}
UNREAD: Mapping[str, Span] = {"keevx": (192, 210), "kling_relay": (96, 105), "foxapi": (32, 35)}
OVERTAKEN: Mapping[str, Span] = {"keevx": (308, 350), "kling_relay": (308, 350), "foxapi": (308, 335)}
RETRIED: Span = (1, 2)
WAITED: dict[str, Span] = {"keevx": (10, 10)}  # its documented wait after a 500
TIMEOUT = 200

# --- refusals of a submit ---------------------------------------------------------------------------------------------

REFUSALS = {
    "429 without Retry-After": ("429", "rate_limited"),
    "429 with Retry-After in seconds": ("429_retry_after", "rate_limited"),
    "429 with Retry-After as a date": ("429_retry_date", "rate_limited"),
    "key refused": ("401", "credential_refused"),
    "out of credit": ("no_credit", "out_of_credit"),
    "no channel": ("503_no_channel", "unavailable"),
}
UNREACHABLE = {
    "connection refused": "http://127.0.0.1:1",
    "name not resolved": "http://provider.invalid",
    "TLS failure": "https://{place}",
}
ENVELOPES: Mapping[str, Mapping[str, tuple[Any, str, str]]] = {  # under HTTP 200: body, kind, billed
    "keevx": {
        "no credit": ({"code": 100020, "msg": "Insufficient credit balance"}, "out_of_credit", "no"),
        "task creation failed": ({"code": 530003, "msg": "Task creation failed"}, "ambiguous", "maybe"),
        "a code of no table": ({"code": 987654, "msg": "Something"}, "ambiguous", "maybe"),
    },
    "kling_relay": {
        "no credit": ({"code": "insufficient_user_quota", "message": "x", "data": None}, "out_of_credit", "no"),
        "Kling's 1303": ({"code": 1303, "message": "parallel task over resource pack limit"}, "rate_limited", "no"),
        "Kling's 5000": ({"code": 5000, "message": "internal error"}, "ambiguous", "maybe"),
    },
    "foxapi": {
        "no credit": ({"error": {"message": "x", "type": "insufficient_quota"}}, "out_of_credit", "no"),
        "rate limit": ({"error": {"message": "x", "type": "rate_limit_error"}}, "rate_limited", "no"),
        "a server error": ({"error": {"message": "x", "type": "server_error"}}, "ambiguous", "maybe"),
    },
}
GOES_ON = {  # documented refusals that concern only this provider
    "keevx": {"100005": "invalid_request", "100002_http200": "credential_refused"},
    "kling_relay": {
        "400_model_name_missing": "unavailable",
        "500_build_request": "invalid_request",
        "401_expired": "credential_refused",
        "401_quota_exhausted": "out_of_credit",
        "403_pre_consume": "out_of_credit",
        "403_subscription": "out_of_credit",
        "403_token_quota": "out_of_credit",
        "403_quota_not_enough": "out_of_credit",
        "403_ip": "credential_refused",
        "403_banned": "credential_refused",
        "403_model": "credential_refused",
        "404": "unavailable",
        "429_empty": "rate_limited",
        "500_no_channel": "unavailable",
        "400_plugin_request": "invalid_request",
        "400_plugin_usage": "invalid_request",
        "400_general": "invalid_request",
        "400_model_price": "unavailable",
        "429_kling_parallel": "rate_limited",
        "502_plugin_credit": "out_of_credit",
    },
    "foxapi": {
        "403": "credential_refused",
        "422_model_not_found": "credential_refused",
        "422_no_available_channel": "unavailable",
        "422_no_compatible_channel": "unavailable",
        "422_unsupported_advanced_options": "invalid_request",
    },
}
STOPS = {  # documented refusals of an input, which every provider would refuse
    "keevx": ("100001", "200_error", "100002_validation", "413", "100006", "100007", "530002"),
    "kling_relay": ("400", "400_invalid_seconds", "400_kling", "413", "502_plugin_refused"),
    "foxapi": ("400", "413", "422", "422_flat", "422_invalid_image_url", "422_invalid_file_type"),
}
FALL_BACK_ON_POLICY = {"on_content_policy": "fall_back"}


def refusals() -> Iterator[Scenario]:
    for first, second in PAIRS:
        for name, (fault, kind) in REFUSALS.items():
            yield falls_back(name, no(first, kind), second, Fault(first, fault))
        for name, address in UNREACHABLE.items():
            yield falls_back(name, no(first, "unavailable"), second, address={first: address})
    for first, second in ROUND:
        for fault, kind in GOES_ON[first].items():
            yield falls_back(f"refused with {fault}", no(first, kind), second, Fault(first, fault))
        for name, (body, kind, billed) in ENVELOPES[first].items():
            reply = Fault(first, "reply", args={"json": body})
            yield falls_back(f"200 with an error: {name}", (first, kind, billed), second, reply)
        for fault in STOPS[first]:
            refused = no(first, "invalid_request")
            yield fails(f"refused with {fault}", (first, second), [refused], Fault(first, fault))
        refusal = Fault(first, "content_refusal")
        refused = no(first, "content_policy")
        yield fails("content refused, policy stop", (first, second), [refused], refusal)
        yield falls_back("content refused, policy fall_back", refused, second, refusal, policy=FALL_BACK_ON_POLICY)


# --- submits without a clear answer -----------------------------------------------------------------------------------

UNCLEAR: Mapping[str, tuple[str, Mapping[str, Any], int]] = {  # fault, its arguments, tasks that it starts
    "502 page": ("502_html", {}, 0),
    "502 page over a started task": ("502_html", {"started": 1}, 1),
    "closed before the body was read": ("close_before_read", {}, 0),
    "closed after acceptance": ("close_after_accept", {}, 1),
    "reset after acceptance": ("close_after_accept", {"reset": 1}, 1),
    "half a reply": ("half_reply", {}, 1),
    "200 with a page": ("html_200", {}, 1),
    "200 with an empty body": ("empty", {}, 1),
    "redirect": ("redirect", {}, 0),
}
LEAVES_OPEN = {  # documented errors that leave open whether a task was started
    "keevx": ("500",),
    "kling_relay": (
        *("500", "500_old_text", "500_read_response", "500_panic", "502_plugin_unknown", "502_plugin_no_id"),
        *("502_plugin_invalid", "502_general", "504_task_timeout"),
    ),
    "foxapi": ("500",),
}


def waits_for_a_callback(*providers: str) -> Span:
    """On the last route, a provider that calls back has until the attempt's time-out to name its task."""
    return (1200, 1200) if "keevx" in providers else NOW


def unclear_answers() -> Iterator[Scenario]:
    for first, second in PAIRS:
        unknown = maybe(first, "ambiguous")
        for name, (fault, args, started) in UNCLEAR.items():
            yield falls_back(name, unknown, second, Fault(first, fault, times=None, args=args), started=started)
    for first, second in ROUND:
        unknown, closed = maybe(first, "ambiguous"), Fault(first, "close_after_accept", times=None)
        for fault in LEAVES_OPEN[first]:
            yield falls_back(f"refused with {fault}", unknown, second, Fault(first, fault, times=None))
        for when, fault, started in (("before", "hang", 0), ("after", "hang_after_accept", 1)):
            never = Fault(first, fault, times=None)
            name = f"time-out {when} acceptance"
            yield falls_back(name, unknown, second, never, started=started, impatient=(first,))
        lost: dict[str, Any] = {"code": "submission_unknown", "started": {first: 1}}
        waited = lost | {"seconds": waits_for_a_callback(first)}
        yield fails("no clear answer, no other route", (first,), [unknown], closed, **waited)
        policy = {"on_ambiguous": "fail"}
        yield fails("no clear answer, policy fail", (first, second), [unknown], closed, policy=policy, **lost)
        held = Made(
            attempts=(unknown,),
            started={first: 1},
            seconds=(300, 300),
            status="expired",
            code="expired",
            faults=(closed,),
            request={"deadline_seconds": 300},
        )
        yield Scenario(
            name="no clear answer, policy hold", routes=(first, second), made=(held,), policy={"on_ambiguous": "hold"}
        )


# --- tasks that were started ------------------------------------------------------------------------------------------


def tasks() -> Iterator[Scenario]:
    timeout = {"attempt_timeout_seconds": TIMEOUT}
    for first, second in PAIRS:
        at_end: dict[str, Any] = {"started": 1, "seconds": MADE[first]}
        yield falls_back("task failed", maybe(first, "task_failed"), second, Fault(first, "fail"), **at_end)
        stuck: dict[str, Any] = {"started": 1, "seconds": (TIMEOUT, TIMEOUT), "policy": timeout}
        yield falls_back("task stuck", maybe(first, "timed_out"), second, Fault(first, "stuck"), **stuck)
        lost: dict[str, Any] = {"started": 1, "seconds": LOST[first]}
        yield falls_back("task lost", maybe(first, "task_lost"), second, Fault(first, "lost"), **lost)
        none: dict[str, Any] = {"started": 1, "seconds": FILELESS[first]}
        yield falls_back("completed without a URL", (first, "result_missing", "yes"), second, _no_url(first), **none)
    for first, second in ROUND:
        at_end = {"started": 1, "seconds": MADE[first]}
        refused, content = maybe(first, "content_policy"), Fault(first, "fail_content")
        name = "task failed by policy, policy fall_back"
        yield falls_back(name, refused, second, content, policy=FALL_BACK_ON_POLICY, **at_end)
        ended: dict[str, Any] = {"started": {first: 1}, "seconds": MADE[first]}
        yield fails("task failed by policy, policy stop", (first, second), [refused], content, **ended)
        if first != "keevx":  # its documentation has no such status
            yield falls_back("task cancelled", maybe(first, "task_failed"), second, Fault(first, "cancelled"), **at_end)
        bad = maybe(first, "invalid_request")
        yield fails("task failed by its image", (first, second), [bad], Fault(first, "fail_image"), **ended)
        late = _no_url(first, polls=2)
        yield alone("completed without a URL, then with it", first, [ok(first)], LATE_FILE[first], late)
        polls = Fault(first, "502_html", operation="poll", times=2)
        yield alone("two polls answered with a 502 page", first, [ok(first)], UNREAD[first], polls)
        overtaken = Made(
            attempts=(ok(first), no(second, "out_of_credit")),
            started={first: 1},
            seconds=OVERTAKEN[first],
            faults=(Fault(first, "slow_task", args={"seconds": 300}), Fault(second, "no_credit")),
        )
        yield Scenario(name="given up, then completed", routes=(first, second), made=(overtaken,), policy=timeout)
        forbidden = maybe(first, "task_failed")
        failing = Made(
            attempts=(forbidden,),
            started={first: 1},
            seconds=MADE[first],
            status="failed",
            code="task_failed",
            faults=(Fault(first, "fail"),),
            request={"fallback": False},
        )
        yield Scenario(name="task failed, fallback forbidden", routes=(first, second), made=(failing,))


def _no_url(provider: str, **args: Any) -> Fault:
    return Fault(provider, "no_url", args=args)


# --- several outputs, the last route, no route ------------------------------------------------------------------------


def outputs() -> Iterator[Scenario]:
    completed, both = ("completed", "completed"), {"n": 2}
    for first, second in PAIRS:
        failed = Fault(first, "fail", args={"only": 0})
        whole = ((first, "task_failed", "yes"),) if first == "keevx" else (maybe(first, "task_failed"), ok(first))
        made = Made(
            attempts=(*whole, ok(second)),
            started={first: 2, second: 1},
            seconds=plus(MADE[first], MADE[second]),
            outputs=completed,
            faults=(failed,),
            request=both,
        )
        yield Scenario(name="one of two outputs failed", routes=(first, second), made=(made,))
    for first in PROVIDERS:
        whole = ((first, "task_failed", "yes"),) if first == "keevx" else (maybe(first, "task_failed"), ok(first))
        made = Made(
            attempts=whole,
            started={first: 2},
            seconds=MADE[first],
            outputs=("failed", "completed"),
            faults=(Fault(first, "fail", args={"only": 0}),),
            request=both,
        )
        yield Scenario(name="one of two outputs failed, no other route", routes=(first,), made=(made,))
    extra = Made(
        attempts=(ok("keevx"),),
        started={"keevx": 2},
        seconds=MADE["keevx"],
        outputs=completed,
        faults=(Fault("keevx", "extra_ids", args={"n": 1}),),
    )
    yield Scenario(name="more tasks than asked for", routes=("keevx",), made=(extra,))


def last_routes() -> Iterator[Scenario]:
    for provider in PROVIDERS:
        limited, down = [no(provider, "rate_limited"), ok(provider)], [no(provider, "unavailable"), ok(provider)]
        yield alone("429 on the only route", provider, limited, plus((30, 30), MADE[provider]), Fault(provider, "429"))
        long_wait = Fault(provider, "429", args={"retry_after": 47})
        yield alone(
            "429 with Retry-After on the only route", provider, limited, plus((47, 47), MADE[provider]), long_wait
        )
        channel = Fault(provider, "503_no_channel")
        yield alone(
            "no channel on the only route", provider, down, plus(WAITED.get(provider, RETRIED), MADE[provider]), channel
        )
        stuck = Made(
            attempts=(maybe(provider, "timed_out"),),
            started={provider: 1},
            seconds=(90, 90),
            status="expired",
            code="expired",
            faults=(Fault(provider, "stuck"),),
            request={"deadline_seconds": 90},
        )
        yield Scenario(name="task stuck until the deadline", routes=(provider,), made=(stuck,))
    for first, second in PAIRS:
        routes = (first, second)
        nobody = [Fault(route, "503_no_channel", times=None) for route in routes]
        yield never_ends("all routes down", routes, *nobody)
        address = dict.fromkeys(routes, UNREACHABLE["connection refused"])
        yield never_ends("all routes refuse the connection", routes, address=address)
        poor = [Fault(route, "no_credit", times=None) for route in routes]
        yield fails("all routes out of credit", routes, [no(route, "out_of_credit") for route in routes], *poor)
        closed = [Fault(route, "close_after_accept", times=None) for route in routes]
        unknown: dict[str, Any] = {"code": "submission_unknown", "started": dict.fromkeys(routes, 1)}
        unknown["seconds"] = waits_for_a_callback(*routes)
        yield fails(
            "no clear answer anywhere", routes, [maybe(route, "ambiguous") for route in routes], *closed, **unknown
        )
        failing = [Fault(route, "fail", times=None) for route in routes]
        ended: dict[str, Any] = {
            "started": dict.fromkeys(routes, 1),
            "seconds": plus(*(MADE[route] for route in routes)),
        }
        yield fails("every task failed", routes, [maybe(route, "task_failed") for route in routes], *failing, **ended)
    for routes in permutations(PROVIDERS):
        first, second, third = routes
        made = Made(
            attempts=(no(first, "unavailable"), maybe(second, "ambiguous"), ok(third)),
            started={second: 1, third: 1},
            seconds=MADE[third],
            faults=(Fault(first, "503_no_channel", times=None), Fault(second, "close_after_accept", times=None)),
        )
        yield Scenario(name="the third route makes it", routes=routes, made=(made,))
    amended = Made(
        attempts=(no("kling_relay", "invalid_request"), ok("kling_relay")),
        started={"kling_relay": 1},
        seconds=MADE["kling_relay"],
        faults=(Fault("kling_relay", "400_duration_string"),),
        request={"duration": 10},
    )
    yield Scenario(name="a form refused, then amended", routes=("kling_relay",), made=(amended,))


def routes_of_one_provider() -> Iterator[Scenario]:
    """Another model of the same account is tried only if the failure of the first one does not concern the account."""
    for first, other, second, fault, ends, started in (
        ("foxapi", "foxapi/kling-o3-image-to-video", "keevx", "close_after_accept", ("ambiguous", "maybe"), 1),
        ("kling_relay", "kling_relay/kling-v1-6", "foxapi", "no_credit", ("out_of_credit", "no"), 0),
        ("kling_relay", "kling_relay/kling-v1-6", "foxapi", "403_model", ("credential_refused", "no"), 0),
    ):
        last = first if fault == "403_model" else second
        made = Made(
            attempts=((first, *ends), ok(last)),
            started=({first: started} if started else {}) | {last: 1},
            seconds=MADE[last],
            faults=(Fault(first, fault),),
        )
        yield Scenario(name=f"two models of one account, {fault}", routes=(first, other, second), made=(made,))


# --- circuits ---------------------------------------------------------------------------------------------------------


def circuits() -> Iterator[Scenario]:
    for first, second in ROUND:
        routes = (first, second)
        here = Made(attempts=(ok(first),), started={first: 1}, seconds=MADE[first])
        there = Made(attempts=(ok(second),), started={second: 1}, seconds=MADE[second])

        def refused(fault: str, kind: str, times: int, *, after: float = 0, routes: Sequence[str] = routes) -> Made:
            return Made(
                attempts=(no(routes[0], kind), ok(routes[1])),
                started={routes[1]: 1},
                seconds=MADE[routes[1]],
                faults=(Fault(routes[0], fault, times=times),),
                times=times,
                after=after,
            )

        down = refused("503_no_channel", "unavailable", 5)
        opened = (down, there, replace(there, after=29.9))
        yield Scenario(
            name="five faults open, a probe closes", routes=routes, made=(*opened, replace(here, after=0.1), here)
        )
        probe = refused("503_no_channel", "unavailable", 1, after=30)
        again = (probe, there, replace(there, after=59.9), replace(here, after=0.1))
        yield Scenario(name="a probe that fails opens for longer", routes=routes, made=(down, *again))
        four = refused("503_no_channel", "unavailable", 4)
        yield Scenario(name="four faults open nothing", routes=routes, made=(four, here))
        for name, fault, kind in (
            ("key refused", "401", "credential_refused"),
            ("no credit", "no_credit", "out_of_credit"),
        ):
            broken = (refused(fault, kind, 1), there, replace(there, after=29.9), replace(here, after=0.1))
            yield Scenario(name=f"{name} opens at once", routes=routes, made=broken)
        busy = refused("429", "rate_limited", 8)
        yield Scenario(name="429 opens nothing", routes=routes, made=(busy, here))
        unknown = Made(
            attempts=(maybe(first, "ambiguous"), ok(second)),
            started={first: 1, second: 1},
            seconds=MADE[second],
            faults=(Fault(first, "close_after_accept", times=5),),
            times=5,
        )
        yield Scenario(name="five unclear answers open", routes=routes, made=(unknown, there))
        failing = Made(
            attempts=(maybe(first, "task_failed"), ok(second)),
            started={first: 1, second: 1},
            seconds=plus(MADE[first], MADE[second]),
            faults=(Fault(first, "fail", times=5),),
            times=5,
        )
        yield Scenario(
            name="five failed tasks open", routes=routes, made=(failing, replace(there, after=MADE[first][1] + 1))
        )
        wrong = Made(
            attempts=(no(first, "credential_refused"),),
            started={},
            seconds=NOW,
            status="failed",
            code="credential_refused",
            faults=(Fault(first, "401"),),
        )
        yield Scenario(name="open, but the only route", routes=(first,), made=(wrong, here))
    relay = "kling_relay"
    of_model = (
        refused("403_model", "credential_refused", 1, routes=(relay, "foxapi")),
        Made(attempts=(ok("foxapi"),), started={"foxapi": 1}, seconds=MADE["foxapi"]),
        Made(
            attempts=(ok(relay),),
            started={relay: 1},
            seconds=MADE[relay],
            request={"model": "kling_relay/kling-v1-6", "fallback": [ROUTE["foxapi"]]},
        ),
    )
    yield Scenario(name="open for one model alone", routes=(relay, "foxapi"), made=of_model)


SCENARIOS = tuple(
    chain(refusals(), unclear_answers(), tasks(), outputs(), last_routes(), routes_of_one_provider(), circuits())
)


async def report(scenarios: Sequence[Scenario], write: Callable[[str], object]) -> bool:
    """Play the scenarios and write the table. Returns whether every outcome is as required."""
    lines: list[Line] = []
    for scenario in scenarios:
        with TemporaryDirectory() as folder:
            try:
                lines += await play(scenario, Path(folder))
            except Exception as error:  # noqa: BLE001  # the other rows must be shown all the same
                lines.append(broken(scenario, error))
    write(table(lines))
    wrong = sum(bool(line.wrong) for line in lines)
    write(f"\n{len(scenarios)} scenarios, {len(lines)} lines, {wrong} wrong\n")
    return not wrong


async def _main() -> int:
    good = await report(SCENARIOS, print)
    with TemporaryDirectory() as folder:
        figures = await half_fail(Path(folder))
    print(figures)  # noqa: T201  # the table was asked for on the command line
    return 0 if good and figures.good else 1


if __name__ == "__main__":
    logging.disable()  # the sandbox's server would log every TLS handshake that fails on purpose
    sys.exit(asyncio.run(_main()))
