"""The built wheel carries its configs and its model, and works from any folder."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_wheel_works_from_any_folder(tmp_path):
    def run(*words, **env):
        done = subprocess.run(
            words, cwd=tmp_path, env=os.environ | env, capture_output=True, text=True, timeout=240, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT))
    (wheel,) = tmp_path.glob("*.whl")
    inside = set(zipfile.ZipFile(wheel).namelist())
    for name in ("models/ixi-hh.harmony", "models/README.md", "reports/quality.html", "reports/page.html"):
        assert f"harmony/{name}" in inside
    run(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(tmp_path / "site"), str(wheel))
    env = {"PYTHONPATH": str(tmp_path / "site"), "PYTHONSAFEPATH": "1"}
    code = (
        "import harmony.app as a, harmony.train as t; print(a.__file__); print(a.conf_folder(), flush=True); t.main()"
    )
    file, conf, *config = run(sys.executable, "-c", code, "experiment=quickstart", "--cfg", "job", **env).splitlines()
    assert file.startswith(str(tmp_path / "site"))
    assert conf.startswith(str(tmp_path / "site"))
    assert any("harmony.tasks.FlowTask" in line for line in config)
