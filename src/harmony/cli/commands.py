"""The commands: what each is for, what it takes, and how it is typed."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Place:
    """A word whose place says what it means. key: the setting that it becomes; must: it cannot be left out; many: there
    may be several of it."""

    name: str
    key: str
    text: str
    must: bool = True
    many: bool = False


@dataclass(frozen=True)
class Command:
    """line: for the list of commands. text: for its own page. config: the file of conf/ that says what it takes, None
    for a command that reads no config."""

    line: str
    text: str
    examples: tuple[str, ...]
    config: str | None = None
    places: tuple[Place, ...] = ()
    flags: tuple[str, ...] = ()  # of the entry point itself
    switches: tuple[str, ...] = ()  # settings that are true, false or neither: as options they need no value
    labels: tuple[str, ...] = ()  # settings that are a list of labels, or null: as options `a,b`
    values: tuple[str, ...] = ()  # its options that a word follows

    def page(self) -> str:
        """Text and examples, for a command without a config."""
        return "\n".join([self.text, "", "examples:", *(f"  {example}" for example in self.examples)])

    def without_places(self) -> Command:
        """The same command where its places are filled already."""
        return replace(self, places=())


_EXPERIMENT = Place("EXPERIMENT", "experiment", "a name of conf/experiment", must=False)

COMMANDS = {
    "check": Command(
        "what is in a folder of scans, and all that is wrong with it",
        "Reads every scan and lists what is there, everything that is wrong with it for what is intended (--for\n"
        "harmonize, train or study), and every subject or image that would be left out. Nothing is written. Exit code\n"
        "0: ready; 1: the data have errors; 2: the command cannot be understood.",
        (
            "harmony check scans/ --for harmonize",
            "harmony check scans/ --for train --json",
            "harmony check data=ixi data.root=ixi/ --for train",
        ),
        "config",
        (Place("FOLDER", "data.root", "a BIDS folder, or with data=NAME another kind of data set", must=False),),
        ("--json",),
        values=("--for",),
    ),
    "train": Command(
        "learn a reference scanner, and what else an experiment needs",
        "Trains the networks of an experiment and evaluates them where its stages say so. What is finished is reused,\n"
        "what was interrupted goes on when the same command is started again.",
        (
            "harmony train quickstart",
            "harmony train ixi_nsf data=bids data.root=scans/ seed=2",
            "harmony train quickstart -m seed=1,2,3",
        ),
        "config",
        (_EXPERIMENT,),
    ),
    "evaluate": Command(
        "compare methods on held-out scans of simulated or real query scanners",
        "Harmonizes held-out scans with every method, scores them, and writes tables, figures and a page. The\n"
        "networks must be trained already (`harmony train`).",
        ("harmony evaluate quickstart --methods none,blindharmony", "harmony evaluate ixi_blindharmony data.root=ixi/"),
        "config",
        (_EXPERIMENT,),
    ),
    "harmonize": Command(
        "map a scan, or a BIDS folder, into the domain of a reference scanner",
        "Writes float32 NIfTI on the grid of each scan as BIDS derivatives, each with a sidecar that says what was\n"
        "done, and a quality page over all. Scans that are done are left alone: start the same command again to go\n"
        "on, or start it several times to share the work. Intensities: one scan keeps its own unit, several get the\n"
        "reference's, so that they can be compared.",
        (
            "harmony harmonize scan.nii.gz out/",
            "harmony harmonize scan.nii.gz harmonized.nii.gz --method scanner_inversion",
            "harmony harmonize a.nii.gz b.nii.gz out/ --original-scale false",
            "harmony harmonize bids/ bids/derivatives/harmony --workers 2 --skip-bad",
            "harmony harmonize head.nii.gz out/ --mask brain_mask.nii.gz --only-plausible=false",
        ),
        "harmonize",
        (
            Place("INPUT", "input", "a scan (.nii, .nii.gz, .mgz), several, or a BIDS folder", many=True),
            Place("OUTPUT", "output", "the derivatives folder that is written; for one scan also a file (.nii.gz)"),
        ),
        switches=("original_scale",),
        labels=("participants", "sessions"),
    ),
    "reference": Command(
        "make a reference scanner of some of its scans, without training",
        "From 8 scans of one scanner (better 20; whole heads or not, labels or not) a model to harmonize into, in a\n"
        "minute or two: statistics by the tissue network of a model that is there. Scans that are unlike the others\n"
        "are left out and named. What was read is kept: start the same command again to go on.",
        (
            "harmony reference scans/ ours.harmony --licence 'in-house' --scans 'OURS, Prisma Fit'",
            "harmony harmonize others/ out/ --model ours.harmony --method scanner_inversion",
        ),
        "reference",
        (
            Place("SCANS", "input", "of one scanner: a BIDS folder, a folder of files, or the files", many=True),
            Place("OUTPUT", "output", "the model that is written: NAME.harmony"),
        ),
    ),
    "study": Command(
        "several sites into one of them: is the scanner gone, is the biology still there",
        "Makes a reference of one site's scans, harmonizes all, measures every scan before and after, and writes a\n"
        "page with a verdict and its tables. Start the same command again to go on, or several times to share it.",
        (
            "harmony study bids/ bids/derivatives/study --reference site=A",
            "harmony study bids/ out/ --reference 'scanner=Siemens Prisma 3' --workers 4",
        ),
        "study",
        (
            Place("BIDS_DIR", "input", "a BIDS folder with several sites"),
            Place("OUTPUT", "output", "the derivatives folder that is written"),
        ),
    ),
    "report": Command(
        "one page of several evaluated runs",
        "Pools runs of one configuration over their seeds, and puts several configurations side by side.",
        ("harmony report runs/quickstart", "harmony report runs/a runs/b output=both.html"),
    ),
    "dashboard": Command(
        "the W&B workspace that compares runs",
        "Saves the workspace where there is a W&B key; otherwise writes what it holds as JSON.",
        ("harmony dashboard entity=NAME",),
        "dashboard",
    ),
    "models": Command(
        "list the models that are there; pack one into a file to pass on",
        "Without more words: the models of the package and of the runs folder. `pack` makes one file of a trained\n"
        "flow and the networks that the chosen methods need.",
        (
            "harmony models",
            "harmony models pack runs/models/flow-1a2b3c4d scanner.harmony --licence 'CC BY-SA 3.0'",
            "harmony models pack runs/models/flow-1a2b3c4d scanner.harmony --method harmonizer_matched",
        ),
    ),
    "doctor": Command(
        "is everything here that harmony needs",
        "Versions, cores and GPU, disk, cache, and the programs that some settings use. Exit code 1 where something\n"
        "is wrong.",
        ("harmony doctor", "harmony doctor --json"),
    ),
    "bids": Command(
        "harmonize as a BIDS App",
        "The command line of a BIDS App; the same work as `harmony harmonize`.",
        ("harmony bids bids/ out/ participant --participant-label 01 02 --n-procs 4",),
    ),
    "completion": Command(
        "a script that completes the commands in bash, zsh or fish",
        "Prints the script of a shell.",
        ('eval "$(harmony completion bash)"', "harmony completion fish > ~/.config/fish/completions/harmony.fish"),
    ),
}
