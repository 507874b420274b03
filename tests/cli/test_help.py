"""Help, completion and the doctor: quick, complete, and honest."""

import contextlib
import json
import re
import shutil
import subprocess

import pytest
from door import command

from harmony.cli import doctor
from harmony.cli.commands import COMMANDS
from harmony.cli.completion import SCRIPTS
from harmony.cli.configs import choices
from harmony.cli.installed import served_methods
from harmony.cli.main import run
from harmony.cli.mistakes import UsageError


def test_the_overview_has_a_line_a_command(capsys):
    assert run(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name, about in COMMANDS.items():
        assert [line for line in lines if line.split() == [name, *about.line.split()]]
    assert run([]) == 2


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself_with_examples(name, capsys):
    if name == "report":
        pytest.skip("its own parser, of the entry point")
    with contextlib.suppress(SystemExit):  # argparse's
        run([name, "--help"])
    out = capsys.readouterr().out
    assert COMMANDS[name].examples[0] in out
    assert out.startswith(f"usage: harmony {name}")


def test_help_has_the_explanations_of_the_config_and_the_choices(capsys):
    run(["harmonize", "--help"])
    out = " ".join(capsys.readouterr().out.split())
    assert "skip_bad=false name a bad scan at the end, in place of stopping there" in out
    for name, text in choices("method").items():
        if name in served_methods():
            assert f"{name} {text}".strip() in out
    served, others = out.split("With a model of your own that has their networks")
    assert " scanner_inversion " in served
    assert "harmonizing_flows" not in served  # the installed model has not its networks
    assert "harmonizing_flows" in others


def test_a_file_that_is_no_packed_model_serves_nothing(tmp_path):
    (tmp_path / "broken.harmony").write_text("hello")
    assert served_methods(tmp_path) == set()


def test_a_misspelt_command_is_exit_code_2(tmp_path):
    code, out, err = command("harmonise", "a", "b", cwd=tmp_path)
    assert (code, out) == (2, "")
    assert err == "error: command 'harmonise': unknown -> did you mean harmonize?\n"
    with pytest.raises(UsageError, match="--version"):
        run(["--verison"])


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        (["ha"], ["harmonize"]),
        (["harmonize", "--met"], ["--method"]),
        (["harmonize", "--method", "hist"], ["histogram_matching"]),
        (["harmonize", "method", "=", "hist"], ["histogram_matching"]),
        (["harmonize", "method", "="], list(choices("method"))),
        (["harmonize", "skip_b"], ["skip_bad="]),
        (["train", "quick"], ["quickstart"]),
        (["harmonize", "/data/x"], []),  # bash's own completion of files
    ],
)
def test_bash_completes(typed, offered, tmp_path):
    script = tmp_path / "harmony.bash"
    script.write_text(SCRIPTS["bash"]())
    ask = f'source "{script}"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _harmony; printf "%s\\n" "${{COMPREPLY[@]}}"'
    done = subprocess.run(["bash", "-c", ask, "-", "harmony", *typed], capture_output=True, text=True, check=True)
    assert done.stdout.split() == offered
    assert not done.stderr


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_accept_their_script(shell, tmp_path):
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell}")
    script = tmp_path / "script"
    script.write_text(SCRIPTS[shell]())
    subprocess.run([shell, "-n", script], check=True)


def test_a_healthy_machine_is_said_to_be(tmp_path):
    code, out, _ = command("doctor", "--json", cwd=tmp_path)
    found = json.loads(out)
    assert found["ok"] == (code == 0)
    names = {each["name"] for each in found["findings"]}
    assert {"Python", "GPU", "SynthStrip", "HD-BET", "browser", "W&B", "SimpleITK", "cache size"} <= names
    assert not [each for each in found["findings"] if each["state"] == "wrong" and not each["cure"]]


@pytest.mark.parametrize(
    ("need", "installed", "wrong"),
    [
        ("lightning>=2.6.0", "2.6.2", "malicious"),
        ("lightning>=2.6.0", "2.6.3", "malicious"),
        ("lightning>=2.6.6", "2.6.6", None),
        ("torch>=2.10", "2.9.1+cu128", "CVE"),
        ("torch>=2.10", "2.10.0+cpu", None),
        ("hydra-core>=1.3.8,<1.4", "1.4.0", "needed"),
        ("nflows==0.14", "0.14", None),
        ("nflows==0.14", "0.14.1", "needed"),
        ("nflows==0.14", "0.14+local", None),
        ("nibabel[dicom]>=5.4", "5.10", None),
        ("torch>=2.10", "2.11.0.dev20260101", None),
        ("nibabel>=5.4", None, "not installed"),
    ],
)
def test_bad_versions_are_wrong(need, installed, wrong):
    name = re.split(r"[\[>=]", need)[0]
    (found,) = doctor.packages([need], {name: installed}.get)
    assert (found.state == "wrong") == (wrong is not None)
    assert wrong is None or wrong in found.value
    assert (found.cure != "") == (wrong is not None)


def test_a_twin_package_that_is_bad_is_found_though_nothing_needs_it():
    (found,) = doctor.packages([], {"pytorch-lightning": "2.6.3"}.get)
    assert found.state == "wrong"


def test_a_folder_that_cannot_be_written_is_wrong(monkeypatch, tmp_path, capsys):
    (tmp_path / "file").touch()
    monkeypatch.setenv("HARMONY_RUNS", str(tmp_path / "file" / "runs"))
    monkeypatch.setenv("HARMONY_CACHE", str(tmp_path))
    assert doctor.doctor([]) == 1
    assert "HARMONY_RUNS= a folder that you may write to" in capsys.readouterr().out
