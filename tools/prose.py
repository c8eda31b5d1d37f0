"""Find phrases and names that this repository does not use, because international readers stumble over them.

`python tools/prose.py` reads every tracked file, `python tools/prose.py PATH…` only these files and folders. It prints
`file:line: phrase → what to write instead` for each place and ends with 1 if there is any. CONTRIBUTING.md has the four
rules that the list stands in for: a list finds a phrase, only a reader finds an unclear sentence.
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
TEXT_SUFFIXES = {".md", ".sql", ".toml", ".yaml", ".yml", ".html", ".js", ".css", ".json", ""}
SKIPPED = re.compile(r"^(tools/prose\.py|tests/(exchanges|ledgers)/|.*\.lock|LICENSE|\.gitignore)")
# Phrase → what to write instead. Read without regard to case, in comments, docstrings, messages and pages.
PHRASES: dict[str, str] = {
    r"behind (?!(?:a|the|another|its|your|their) (?:reverse |load |corporate )?(?:proxy|proxies|balancer|firewall|NAT)\b)": "`after`, `later than`",
    r"(?:is|are|was|were) no (?!longer\b|more than\b|later than\b|less than\b|earlier than\b|larger than\b)": "`is not a …`, or `there is no …`",
    r"(?:what|that|which|who) (?:is|are|was|were) (?:no|none)\b": "`anything that is not a …`",
    r"(?:is|are|was|were|be) none\b": "`is missing`, `there is no …`",
    r"(?:tell|tells|told|telling) (?:of|about)\b": "`report`, `record`, `announce`",
    r"told\b": "`recorded`, `announced`, `reported`; for a person `learns`, `is asked`",
    r"whoever\b": "`the caller`, `the client`, `the operator`",
    r"(?:^|[.;:,(] *)who (?!(?:is|are|may|can|has|pays|reads|owns|calls|did|does)\b[^.]*\?)(?:has|have|is|are|asks?|wants?|waits?|reads?|sends?|looks?|comes?|lets?|queues?|needs?|knows?|cancels?)\b": "`the caller that …`, `the client that …`",
    r"of late\b": "`recently`",
    r"(?:too|so|as|how|is|more) dear(?:er)?\b": "`expensive`",
    r"comes? to (?!an end\b|life\b)": "`evaluates to`, `becomes`, `results in`",
    r"stands?\b(?! alone\b)": "`is`, `is listed`, `represents`",
    r"(?:has|have|had|in|waits for|gets|wait for) (?:its|their|a|his) turn\b": "`is tried next`, `is processed later`",
    r"for good\b(?! reason)": "`permanently`",
    r"(?:goes|go|went|going) by (?!default\b|one\b)": "`is decided by`",
    r"anew\b": "`again`",
    r"hardly\b": "`almost never`, `rarely`",
    r"thereby|therein|thereof|whereof|wherein|hitherto|henceforth": "a plain word",
    r"ere\b|nought\b|naught\b|lest\b|withal\b": "a plain word",
    r"(?:looks?|looking) on\b": "`watches`, `waits for the result`",
    r"as ever\b": "`as always`, or nothing",
    r"whence\b|whither\b": "`from where`",
}
# Names that say nothing about the thing they stand for. `_one` of a test and `one` in prose are not names.
NAMES = {"told", "found", "known", "asked", "kept", "one", "told_", "tell", "whose", "thing", "stuff"}
_COMPILED = [(re.compile(rf"(?<![\w-])(?:{pattern})", re.IGNORECASE), remedy) for pattern, remedy in PHRASES.items()]
# A name that is encoded: stored, or sent to a client. `path suffix: names`.
ENCODED: dict[str, set[str]] = {"gateway/domain/generation/model.py": {"asked", "kept"}}


def main(arguments: list[str]) -> int:
    """Print every finding; 1 if there is one."""
    findings = [finding for path in files(arguments) for finding in read(path)]
    for finding in findings:
        sys.stdout.write(f"{finding}\n")
    if findings:
        sys.stdout.write(f"{len(findings)} places; the four rules are in CONTRIBUTING.md\n")
    return 1 if findings else 0


def files(arguments: list[str]) -> Iterator[Path]:
    """The tracked text files below these paths, or all of them."""
    listed = subprocess.run(  # noqa: S603 - the arguments are paths of the caller's own repository
        ["git", "ls-files", "-co", "--exclude-standard", "--", *arguments],  # noqa: S607 - git as the shell finds it
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for name in listed.splitlines():
        path = ROOT / name
        if not SKIPPED.match(name) and path.suffix in {*TEXT_SUFFIXES, ".py"} and path.is_file():
            yield path


def read(path: Path) -> Iterator[str]:
    """The findings of one file."""
    name = path.relative_to(ROOT).as_posix()
    text = path.read_text(encoding="utf-8")
    passages = _python_passages(text) if path.suffix == ".py" else enumerate(text.splitlines(), start=1)
    for line, passage in passages:
        for pattern, remedy in _COMPILED:
            for match in pattern.finditer(passage):
                at = line + passage.count("\n", 0, match.start())
                yield f"{name}:{at}: “{' '.join(match.group().split())}” → {remedy}"
    if path.suffix == ".py":
        allowed = ENCODED.get(name, set())
        for line, word in _names(ast.parse(text)):
            if word in NAMES - allowed:
                yield f"{name}:{line}: the name `{word}` → name the thing: `row`, `match`, `file`, `attempt`"


def _python_passages(text: str) -> Iterable[tuple[int, str]]:
    """Comments (neighbouring lines as one passage) and strings with words in them, each with its first line."""
    passages: list[tuple[int, str]] = []
    last_comment = 0
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        line = token.start[0]
        if token.type == tokenize.COMMENT:
            words = token.string.lstrip("# ")
            own_line = token.line.strip().startswith("#")
            if own_line and passages and last_comment == line - 1:
                start, before = passages.pop()
                passages.append((start, f"{before}\n{words}"))
            else:
                passages.append((line, words))
            last_comment = line if own_line else 0
        elif token.type == tokenize.STRING or token.type == getattr(tokenize, "FSTRING_MIDDLE", -1):
            if " " in token.string:
                passages.append((line, token.string))
    return passages


def _names(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """The names that a module binds: variables, parameters, functions, classes, fields."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name):
                yield node.lineno, name.strip("_")
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield node.lineno, name.strip("_")
            case ast.Attribute(attr=name, ctx=ast.Store()):
                yield node.lineno, name.strip("_")
            case _:
                pass


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
