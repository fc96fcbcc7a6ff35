"""Makes many runs out of one, in the database of an MLflow server that rests.

    python mlflow_runs.py DATABASE RUN COUNT

Asking the server for each would take it ten minutes. Every table that names the run is copied row by row, whatever its
columns, so that only what differs between runs is known here: ids, start times, and the numbers that `bench mlflow` gives.
"""

import sqlite3
import sys
import uuid

database, template, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
connection = sqlite3.connect(database)
connection.row_factory = sqlite3.Row
tables = [name for (name,) in connection.execute("select name from sqlite_master where type = 'table'")]
columns = {table: [row["name"] for row in connection.execute(f"pragma table_info({table})")] for table in tables}
copied = {
    table: [dict(row) for row in connection.execute(f"select * from {table} where run_uuid = ?", [template])]
    for table in tables
    if "run_uuid" in columns[table]
}


def differing(table, row, number, run):
    row = {name: value.replace(template, run) if isinstance(value, str) else value for name, value in row.items()}
    key = row.get("key", "")
    if table == "runs":
        row["start_time"] = 1 + number
    elif "metrics" in table:
        row["value"] = ((number * 7_919 + int(key[1:]) * 31) % 10_007) / 10_007
    elif table == "params":
        row["value"] = str(number % (int(key[1:]) + 2))
    return row


with connection:
    for number in range(1, count):
        run = uuid.uuid4().hex
        for table, rows in copied.items():
            for row in rows:
                row = differing(table, row, number, run)
                places = ", ".join("?" * len(row))
                connection.execute(f"insert into {table} ({', '.join(row)}) values ({places})", list(row.values()))
