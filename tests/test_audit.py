"""The audit of the locks: a finding fails it, silence of the service is no clean result."""

import os
import subprocess
import sys

import pytest

from workflow_state import ROOT

# Stands in for pip-audit: MODE says what the service knows.
STAND_IN = """
import json, os, sys
from pathlib import Path
mode = os.environ["MODE"]
if mode == "down":
    sys.exit("ConnectionError: the service cannot be reached")
vuln = {"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": ["3.0"]}
entries = []
for line in Path(sys.argv[sys.argv.index("--requirement") + 1]).read_text().split():
    name, version = line.split("==")
    bad = mode != "mirror" and (name == "jinja2" and version == "2.4.1" or mode == name)
    entries.append({"name": name, "version": version, "vulns": [vuln] if bad else []})
print(json.dumps({"dependencies": entries, "fixes": []}))
"""


@pytest.mark.parametrize(
    ("mode", "code", "sentence"),
    [
        ("down", 0, "audit SKIPPED: no service (pypi, osv) that knows of jinja2==2.4.1"),
        ("mirror", 0, "audit SKIPPED: no service (pypi, osv) that knows of jinja2==2.4.1"),
        ("clean", 0, "audit by pypi: 0 findings in 1 locks"),
        ("numpy", 1, "one.lock: numpy 1.0 has PYSEC-1, mended in 3.0"),
    ],
)
def test_the_audit_says_what_it_found_or_that_it_did_not_look(tmp_path, mode, code, sentence):
    (tmp_path / "pip_audit.py").write_text(STAND_IN)
    (tmp_path / "one.lock").write_text("numpy==1.0\npandas==2.0\n")
    done = subprocess.run(
        [sys.executable, str(ROOT / ".ci" / "audit"), str(tmp_path / "one.lock")],
        env=os.environ | {"MODE": mode, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == code, done.stderr
    assert sentence in done.stdout.splitlines()
