"""DAG files as files: what they import, and that no shell and no template is near a command. No Airflow is needed."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent.parent / "airflow_dags"
FILES = sorted(FOLDER.glob("*.py"))
DAGS = [path for path in FILES if path.name not in ("fleetcube_common.py", "fleetcube_notices.py")]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_nothing_but_airflow_and_the_standard_library_is_imported(path: Path) -> None:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name.partition(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level
            found.add(str(node.module).partition(".")[0])
    assert found <= {*sys.stdlib_module_names, "airflow", "fleetcube_common", "fleetcube_notices"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_shell_and_no_template_is_near_a_command(path: Path) -> None:
    text = path.read_text()
    for word in ("shell", "os.system", "popen(", "BashOperator", "bash_command", "SSHOperator", "eval(", "exec("):
        assert word not in re.sub(r'""".*?"""|#.*', "", text, flags=re.S).replace("subprocess.Popen", "")
    # The only templates name a mapped task in the page.
    assert set(re.findall(r"\{\{.*?\}\}", text)) <= {"{{ task.fact }}", "{{ task.cube }}"}


def test_every_dag_has_a_file_and_a_doc_string_that_the_page_shows() -> None:
    assert {path.stem for path in DAGS} == {"fleetcube_load", "fleetcube_cubes", "fleetcube_maintain"}
    for path in DAGS:
        text = path.read_text()
        assert len(ast.get_docstring(ast.parse(text)) or "") > 200
        assert f'"{path.stem}",\n    doc_md=__doc__,' in text
    ignored = (FOLDER / ".airflowignore").read_text().split()
    assert ignored == ["fleetcube_common.py", "fleetcube_notices.py", "plugins/*"]


def test_no_init_file_shadows_a_package() -> None:
    assert not list(FOLDER.rglob("__init__.py"))
