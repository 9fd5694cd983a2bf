"""Run by Airflow's own Python: imports the DAGs and prints what they are, as JSON. `look_at_dags.py FOLDER`."""

import datetime
import json
import sys
import time

from airflow.dag_processing.dagbag import DagBag

folder = sys.argv[1]
sys.path.insert(0, folder)
started = time.process_time()
import fleetcube_common  # noqa: E402, F401

common = time.process_time() - started
import fleetcube_maintain  # noqa: E402

bag = DagBag(folder)
found = {}
for dag_id, dag in bag.dags.items():
    found[dag_id] = {
        "seconds": next(one.duration.total_seconds() for one in bag.dagbag_stats if dag_id in one.file),
        "edges": sorted([task.task_id, after] for task in dag.tasks for after in task.downstream_task_ids),
        "outlets": {task.task_id: [one.name for one in task.outlets] for task in dag.tasks if task.outlets},
        "retries": {task.task_id: task.retries for task in dag.tasks},
        "told": bool(dag.has_on_failure_callback and dag.has_on_success_callback),
        "doc": bool(dag.doc_md),
        "catchup": dag.catchup,
        "active": dag.max_active_runs,
        "templates": sorted({name for task in dag.tasks for name in task.template_fields}),
    }
days = [datetime.date(2026, 1, 1) + datetime.timedelta(days=n) for n in range(90)]
older = [fleetcube_maintain.older_day(day).isoformat() for day in days]
print(json.dumps({"older": older, "errors": bag.import_errors, "common": common, "dags": found}))
