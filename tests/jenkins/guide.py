"""The tables of docs/jenkins.md that the Jenkinsfile determines: `python -m tests.jenkins.guide` writes them."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.jenkins.recording import Call, block, everything, record, shell, stages
from tests.pods import REPOSITORY

GUIDE = REPOSITORY / "docs/jenkins.md"
_MARK = "<!-- {}: from the Jenkinsfile, by `python -m tests.jenkins.guide` -->\n"


def parameters(pipeline: Call) -> Iterator[str]:
    """Yield the lines of the table of parameters."""
    yield "| parameter | values | what it is |"
    yield "|---|---|---|"
    for call in block(pipeline, "parameters"):
        given = call["args"][0]
        values = (
            ", ".join(f"`{each}`" if each else "empty" for each in given.get("choices", ()))
            or {
                "string": "text",
                "text": "lines of text",
            }[call["name"]]
        )
        yield f"| `{given['name']}` | {values} | {given['description']} |"


def steps(pipeline: Call) -> Iterator[str]:
    """Yield the lines of the table of stages."""
    yield "| stage | pod | what runs |"
    yield "|---|---|---|"
    for name, stage in stages(pipeline).items():
        inner = list(stages(stage).items()) or [("", stage)]
        pod = _pod(stage)
        for number, (part, each) in enumerate(inner):
            lines = ", ".join(f"`{line.removeprefix('python -m ')}`" for line in shell(each, "steps"))
            asked = [call for call in everything(each) if call["name"] == "input"]
            said = lines or ("asks somebody, and waits" if asked else "the checkout")
            yield f"| {': '.join(filter(None, (name, part)))} | {pod if number == 0 else ''} | {said} |"


def _pod(stage: Call) -> str:
    """Return where a stage runs, in words."""
    for kubernetes in block(stage, "agent"):
        said: dict[str, Any] = {call["name"]: call["args"][0] for call in kubernetes["body"]}
        where = f", in `{said['namespace']}`" if "namespace" in said else ""
        return (f"`{said['yamlFile']}`" if "yamlFile" in said else "the one that Plan has made") + where
    return "none"


def written(text: str, pipeline: Call) -> str:
    """Return the guide with its tables as the Jenkinsfile has them."""
    for name, lines in (("stages", steps(pipeline)), ("parameters", parameters(pipeline))):
        begin, end = _MARK.format(name), f"<!-- end of {name} -->\n"
        table = begin + "".join(f"{line}\n" for line in lines) + end
        text = re.sub(f"{re.escape(begin)}.*?{re.escape(end)}", lambda _, table=table: table, text, flags=re.DOTALL)
    return text


def main() -> int:
    """Write the tables."""
    [pipeline] = record(REPOSITORY / "Jenkinsfile")["calls"]
    GUIDE.write_text(written(Path(GUIDE).read_text(encoding="utf-8"), pipeline), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
