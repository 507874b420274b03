"""harmony bids BIDS_DIR OUTPUT_DIR participant: the command line of a BIDS App, as words of `harmony harmonize`."""

from __future__ import annotations

from harmony import __version__
from harmony.cli.commands import COMMANDS
from harmony.cli.mistakes import Parser
from harmony.cli.words import quoted, there, translate


def bids_words(words: list[str]) -> list[str]:
    """The words of harmonize for those of a BIDS App; what stands after `--` goes to harmonize as it is."""
    cut = words.index("--") if "--" in words else len(words)
    said = _parser().parse_args(words[:cut])
    there(said.bids_dir)
    out = [f"input={quoted(said.bids_dir)}", f"output={quoted(said.output_dir)}", f"workers={said.n_procs}"]
    for key, labels in (("participants", said.participant_label), ("sessions", said.session_label)):
        if labels:
            out.append(f"{key}=[{','.join(quoted(label) for label in labels)}]")
    named = ("model", "method", "mask", "bids_filter_file")
    more = [f"--{name.replace('_', '-')}={getattr(said, name)}" for name in named if getattr(said, name)]
    more += ["--skip-bad"] if said.skip_bad else []
    return [*out, *translate("harmonize", _PLACELESS, [*more, *words[cut + 1 :]])]


def _parser() -> Parser:
    parser = Parser("harmony bids", COMMANDS["bids"].page())
    parser.add_argument("bids_dir", metavar="BIDS_DIR", help="the data set: skull-stripped, or with --mask")
    parser.add_argument("output_dir", metavar="OUTPUT_DIR", help="the derivatives folder that is written")
    parser.add_argument("level", choices=["participant"], help="there is no group level")
    for name, what in (("participant", "subjects: 01 or sub-01"), ("session", "sessions: A or ses-A")):
        flags = (f"--{name}-label", f"--{name}_label")
        parser.add_argument(*flags, dest=f"{name}_label", nargs="+", metavar="LABEL", help=f"only these {what}")
    filter_flags = ("--bids-filter-file", "--bids_filter_file")
    parser.add_argument(*filter_flags, metavar="FILE", help='JSON: {"t1w": {"acquisition": "mprage", "run": 1}}')
    parser.add_argument("--model", help="a packed model, a run folder, or a name of `harmony models`")
    parser.add_argument("--method", help="a name of conf/method")
    parser.add_argument("--mask", help="a pattern with {subject}, or auto (default), deepbet, synthstrip, hd-bet")
    parser.add_argument("--skip-bad", action="store_true", help="name a bad scan at the end, do not stop there")
    parser.add_argument("--n-procs", "--n_procs", type=int, default=1, metavar="N", help="processes (default 1)")
    parser.add_argument("-v", "--version", action="version", version=f"harmony {__version__}")
    return parser


_PLACELESS = COMMANDS["harmonize"].without_places()
