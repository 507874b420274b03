"""Scripts that complete the commands: the names are written into them, so that no key press starts Python."""

from __future__ import annotations

import shlex

from harmony.cli.commands import COMMANDS
from harmony.cli.configs import choices, groups, settings
from harmony.cli.mistakes import Parser
from harmony.cli.words import options

BASH = """\
# harmony's completion for bash: eval "$(harmony completion bash)"
_harmony() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} last=${{COMP_WORDS[COMP_CWORD-1]}} said=
    [[ $word == "=" ]] && {{ last="="; word=; }}
    [[ $last == "=" ]] && last=${{COMP_WORDS[COMP_CWORD-1]}} && [[ $last == "=" ]] && last=${{COMP_WORDS[COMP_CWORD-2]}}
    if (( COMP_CWORD == 1 )); then
        COMPREPLY=($(compgen -W "{commands}" -- "$word")); return
    fi
    case ${{last#--}} in
{values}
    esac
    if [[ -z $said ]]; then
        case ${{COMP_WORDS[1]}} in
{words}
        esac
    fi
    COMPREPLY=($(compgen -W "$said" -- "$word"))
    [[ ${{COMPREPLY[0]}} == *= ]] && compopt -o nospace 2>/dev/null
}}
complete -o bashdefault -o default -F _harmony harmony
"""

ZSH = """\
#compdef harmony
# harmony's completion for zsh: eval "$(harmony completion zsh)"
autoload -U +X compinit && compinit -u
autoload -U +X bashcompinit && bashcompinit
"""


def completion(words: list[str]) -> int:
    """Print the script of a shell."""
    parser = Parser("harmony completion", COMMANDS["completion"].page())
    parser.add_argument("shell", choices=sorted(SCRIPTS))
    print(SCRIPTS[parser.parse_args(words).shell](), end="")
    return 0


def bash() -> str:
    """Files, where no name fits."""
    values = [f'        {group}) said="{" ".join(names)}";;' for group, names in _values().items()]
    own = [f'            {name}) said="{" ".join(_words(name))}";;' for name in COMMANDS]
    return BASH.format(commands=" ".join(COMMANDS), values="\n".join(values), words="\n".join(own))


def zsh() -> str:
    return ZSH + bash()


def fish() -> str:
    lines = [
        f"complete -c harmony -n __fish_use_subcommand -f -a {name} -d {shlex.quote(command.line)}"
        for name, command in COMMANDS.items()
    ]
    for name in COMMANDS:
        inside = f'-n "__fish_seen_subcommand_from {name}"'
        lines += [f"complete -c harmony {inside} -a {shlex.quote(' '.join(_words(name)))}"]
        lines += [
            f"complete -c harmony {inside} -l {group} -x -a {shlex.quote(' '.join(names))}"
            for group, names in _values().items()
            if f"--{group}" in _words(name)
        ]
    return "\n".join(lines) + "\n"


def _values() -> dict[str, list[str]]:
    """Group of conf/ -> the names that may follow `group=` and `--group`."""
    return {group: list(choices(group)) for group in sorted(groups()) if choices(group)}


def _words(name: str) -> list[str]:
    """What may stand in a command: names, options, keys."""
    command = COMMANDS[name]
    if command.config is None:
        return _OWN.get(name, ["--help"])
    placed = {place.key for place in command.places}
    names = [each for place in command.places if place.key in groups() for each in choices(place.key)]
    keys = [f"{each.name}=" for each in settings(command.config) if each.name not in placed]
    return [*names, *options(command), *command.flags, *command.values, "--help", *keys]


_OWN = {
    "models": ["pack", "--json", "--help"],
    "doctor": ["--json", "--help"],
    "bids": ["participant", "--participant-label", "--session-label", "--model", "--method", "--n-procs", "--help"],
    "completion": ["bash", "fish", "zsh", "--help"],
}
SCRIPTS = {"bash": bash, "fish": fish, "zsh": zsh}
