"""Find phrases and names that this repository does not use, because international readers stumble over them.

`python tools/prose.py` reads every tracked file, `python tools/prose.py PATH…` only these files and folders. It prints
`file:line: phrase → what to write instead` for each finding, and exits with 1 if there is any. CONTRIBUTING.md has the
four rules that the list is for: the list finds a phrase, but only a reader finds an unclear sentence.
"""

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TEXT_SUFFIXES = {".md", ".sql", ".toml", ".yaml", ".yml", ".html", ".js", ".css", ".json", ".sh", ""}
SKIPPED = re.compile(
    r"tools/prose\.py|tests/unit/test_prose\.py|tests/(?:exchanges|ledgers)/|"
    r"gateway/store/sqlite/migrations/|.*\.lock|LICENSE|\.gitignore"
)
_VERBS = "has|have|is|are|asks?|wants?|waits?|reads?|sends?|looks?|comes?|lets?|queues?|needs?|knows?|cancels?"
_LIMITS = "longer|more than|later than|less than|earlier than|larger than"
_BARRIERS = "proxy|proxies|balancer|firewall|NAT"
# Phrase → what to write instead. Case does not matter, and a space is also a line break.
PHRASES: dict[str, str] = {
    rf"behind (?!(?:(?:a|the|another|its|your|their) )?(?:(?:reverse|load|corporate) )?(?:{_BARRIERS})\b)": "`after`, "
    "`later than`",
    rf"(?<!there\s)(?:is|are|was|were) no (?!(?:{_LIMITS})\b)": "`is not a …`, or `there is no …`",
    r"(?:what|that|which|who) (?:is|are|was|were) (?:no|(?-i:none))\b": "`anything that is not a …`",
    r"(?:is|are|was|were|be) (?-i:none)\b": "`is missing`, `there is no …`",
    r"(?:tell|tells|told|telling) (?:of|about)\b": "`report`, `record`, `announce`",
    r"told\b": "`recorded`, `announced`, `reported`; for a person `learns`, `is asked`",
    r"whoever\b": "`the caller`, `the client`, `the operator`",
    rf"(?:^|[.;:,(] *)who (?!(?:is|are|may|can|has|pays|reads|owns|calls|did|does)\b[^.]*\?)(?:{_VERBS})\b": "`the "
    "caller that …`, `the client that …`",
    r"of late\b": "`recently`",
    r"(?:too|so|as|how|is|more) dear(?:er)?\b": "`expensive`",
    r"comes? to (?!(?:an end|life)\b)": "`evaluates to`, `becomes`, `results in`",
    r"stands?\b(?! alone\b)": "`is`, `is listed`, `represents`",
    r"(?:has|have|had|in|waits for|gets|wait for) (?:its|their|a|his) turn\b": "`is tried next`, `is processed later`",
    r"for good\b(?! reason)": "`permanently`",
    r"(?:goes|go|went|going) by (?!(?:default|one)\b)": "`is decided by`",
    r"(?:make|makes|made|making) nothing of\b": "`ignores`, `does not change`",
    r"whatever (?:be)?comes? of\b": "`whether it succeeds or fails`",
    r"anew\b": "`again`",
    r"hardly\b": "`almost never`, `rarely`",
    r"thereby|therein|thereof|whereof|wherein|hitherto|henceforth": "a plain word",
    r"ere\b|nought\b|naught\b|lest\b|withal\b": "a plain word",
    r"(?:looks?|looking) on\b": "`watches`, `waits for the result`",
    r"as ever\b": "`as always`, or nothing",
    r"whence\b|whither\b": "`from where`",
}


def _spaced(pattern: str) -> str:
    return re.sub(r" (?!\*)", r"\\s+", pattern)


_COMPILED = [
    (re.compile(rf"(?<![\w-])(?:{_spaced(pattern)})", re.IGNORECASE), remedy) for pattern, remedy in PHRASES.items()
]
# Names that say nothing about what they are for.
NAMES = {"told", "found", "known", "asked", "kept", "one", "tell", "whose", "thing", "stuff"}
# Names that are stored or sent to clients, and so cannot change: file → names.
ENCODED: dict[str, set[str]] = {"gateway/domain/generation/model.py": {"asked", "kept"}}


def main(arguments: list[str]) -> int:
    """Print every finding; 1 if there is one."""
    findings = [
        f"{path.relative_to(ROOT).as_posix()}:{line}: {problem}"
        for path in files(arguments)
        for line, problem in problems(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8"))
    ]
    if findings:
        sys.stdout.write("\n".join([*findings, f"{len(findings)} places; the four rules are in CONTRIBUTING.md", ""]))
    return 1 if findings else 0


def files(arguments: list[str]) -> Iterator[Path]:
    """The text files of the repository below these paths, or all of them; ignored files are left out."""
    listed = subprocess.run(  # noqa: S603  # the arguments are paths of the caller's own repository
        ["git", "ls-files", "-co", "--exclude-standard", "--", *arguments],  # noqa: S607  # git as the shell finds it
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for name in listed.splitlines():
        path = ROOT / name
        if not SKIPPED.match(name) and path.suffix in {*TEXT_SUFFIXES, ".py"} and path.is_file():
            yield path


def problems(name: str, text: str) -> Iterator[tuple[int, str]]:
    """Line and problem of each finding in the text of a file; `name` says whether it is Python."""
    is_python = name.endswith(".py")
    for line, passage in _passages(text) if is_python else enumerate(text.splitlines(), start=1):
        for pattern, remedy in _COMPILED:
            for match in pattern.finditer(passage):
                place = line + passage.count("\n", 0, match.start())
                yield place, f"“{' '.join(match.group().split())}” → {remedy}"
    for line, word in _names(ast.parse(text)) if is_python else ():
        if word in NAMES - ENCODED.get(name, set()):
            yield line, f"the name `{word}` → name the thing: `row`, `match`, `file`, `attempt`"


def _passages(text: str) -> Iterable[tuple[int, str]]:
    """The comments and the strings of several words, each with its first line; neighbouring comments are joined."""
    passages: list[tuple[int, str]] = []
    last_comment = -1
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        line = token.start[0]
        if token.type == tokenize.COMMENT:
            words = token.string.lstrip("# ")
            has_own_line = token.line.strip().startswith("#")
            if has_own_line and last_comment == line - 1:
                start, before = passages.pop()
                passages.append((start, f"{before}\n{words}"))
            else:
                passages.append((line, words))
            last_comment = line if has_own_line else -1
        elif token.type in {tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", None)} and " " in token.string:
            passages.append((line, token.string))
    return passages


def _names(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """The names that a module binds: variables, parameters, functions, classes, fields."""
    for node in ast.walk(tree):
        match node:
            case (
                ast.Name(id=name, ctx=ast.Store())
                | ast.arg(arg=name)
                | ast.FunctionDef(name=name)
                | ast.AsyncFunctionDef(name=name)
                | ast.ClassDef(name=name)
                | ast.Attribute(attr=name, ctx=ast.Store())
            ):
                yield node.lineno, name.strip("_")
            case _:
                pass


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
