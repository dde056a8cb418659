"""What a script of the zoo says of itself, in its first lines and in comments.

    pattern: gradual_leak                   one of docs/patterns.md
    card: 512MiB                            capacity of the simulated card, its CUDA context (225 MiB) included
    cause: accumulating_autograd_graph      of docs/causes.md; `|` between those that may stand first
    holder: losses                          what the named holder may begin with, "graph of" aside; without the line
                                            nobody is to be named
    fix: move_to_cpu | bound_container      changes that may be advised first; `none`: nothing but another program helps
    proof: --fixed                          what makes the script run to its end on the same card: arguments, NAME=value

Optional: `other: 200MiB` (held by other processes), `run: --batch 64 NAME=value` (how the script is started; the proof
is added), `leak: yes` (of a healthy run that a larger data set would kill), `slow: yes`. A line of the script that ends
in `# culprit` may be the one that the report points to. Without such a line any is accepted.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parent / "scripts"
UNIT = {"MiB": 1 << 20, "GiB": 1 << 30}
KEYS = {"pattern", "card", "cause", "holder", "fix", "proof", "other", "run", "leak", "slow"}


@dataclass
class Label:
    script: Path
    pattern: str
    card: int
    other: int = 0
    cause: list = field(default_factory=list)
    holder: list = field(default_factory=list)
    fix: list = field(default_factory=list)
    run: list = field(default_factory=list)
    proof: list = field(default_factory=list)
    lines: list = field(default_factory=list)
    leaks: bool = False
    slow: bool = False

    @property
    def name(self):
        return self.script.stem


def in_bytes(text):
    number, unit = re.fullmatch(r"([\d.]+)(MiB|GiB)", text).groups()
    return int(float(number) * UNIT[unit])


def read_label(script):
    text = script.read_text()
    said = dict(re.findall(r"^([a-z]+): +(.+)$", text.split('"""')[1].split("\n\n", 1)[1], re.MULTILINE))
    assert said.keys() <= KEYS, f"{script}: {said.keys() - KEYS}"

    def choices(key):
        return [choice.strip() for choice in said[key].split("|")] if key in said else []

    return Label(
        script=script,
        pattern=said["pattern"],
        card=in_bytes(said["card"]),
        other=in_bytes(said.get("other", "0MiB")),
        cause=choices("cause"),
        holder=choices("holder"),
        fix=choices("fix"),
        run=said.get("run", "").split(),
        proof=said.get("proof", "").split(),
        lines=[number for number, line in enumerate(text.splitlines(), 1) if line.endswith("# culprit")],
        leaks=said.get("leak") == "yes",
        slow=said.get("slow") == "yes",
    )


def all_labels():
    return [read_label(script) for script in sorted(SCRIPTS.glob("*.py"))]
