"""What a team's script does with MLflow's own client, against whatever MLFLOW_TRACKING_URI names.

Run by test_mlflow.py with the Python of an MLflow release; prints what the test looks at as one line of JSON. Nothing here
knows that the server is not MLflow's.
"""

import json
import math
import os
import pathlib
import sys
import tempfile
import time
import warnings

warnings.filterwarnings("ignore")

import mlflow
import numpy as np
import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.models import infer_signature
from sklearn.linear_model import LogisticRegression

IS_3 = int(mlflow.__version__.split(".")[0]) >= 3
SALT = "m" + mlflow.__version__.split(".")[0] + os.environ.get("OMBUD_SALT", "")


def refused(code, work):
    try:
        work()
    except MlflowException as error:
        assert error.error_code == code, (error.error_code, str(error))
        return str(error)
    raise AssertionError(f"{code} was expected")


def data():
    random = np.random.default_rng(7)
    frame = pd.DataFrame(random.normal(size=(200, 3)), columns=["age", "hours", "tenure"])
    frame = frame.astype("float32")
    return frame, (frame.age + frame.hours > 0).astype(int)


def log_named(flavor, model, name, **more):
    """log_model changed its parameter's name with MLflow 3."""
    return flavor.log_model(model, **({"name": name} if IS_3 else {"artifact_path": name}), **more)


def tracking(client):
    experiment = mlflow.set_experiment(f"claims {SALT}")
    assert mlflow.set_experiment(f"claims {SALT}").experiment_id == experiment.experiment_id
    refused("RESOURCE_ALREADY_EXISTS", lambda: client.create_experiment(f"claims {SALT}"))
    with mlflow.start_run(run_name="first") as run:
        for step in range(5):
            mlflow.log_metrics({"loss": 1.0 / (step + 1), "auc": 0.5 + step / 10}, step=step)
        mlflow.log_metric("loss", float("nan"), step=5)
        mlflow.log_metric("top", float("inf"))
        mlflow.log_params({"depth": 3, "rate": 0.1})
        mlflow.log_params({"depth": 3, "rate": 0.1})
        mlflow.set_tags({"team": "desk", "a key with signs": "it's"})
        folder = pathlib.Path(tempfile.mkdtemp())
        (folder / "notes").mkdir()
        (folder / "notes" / "n ä.txt").write_text("hello")
        (folder / "large.bin").write_bytes(os.urandom(3 << 20))
        mlflow.log_artifact(folder / "large.bin")
        mlflow.log_artifacts(str(folder / "notes"), artifact_path="notes")
        mlflow.log_dict({"a": 1}, "config/a.json")
        mlflow.log_input(mlflow.data.from_pandas(data()[0], name="claims"), context="training")
    refused("INVALID_PARAMETER_VALUE", lambda: client.log_param(run.info.run_id, "depth", 4))
    kept = client.get_run(run.info.run_id)
    assert kept.info.status == "FINISHED" and kept.info.end_time >= kept.info.start_time
    assert kept.info.run_name == "first" and kept.data.params == {"depth": "3", "rate": "0.1"}
    assert math.isnan(kept.data.metrics["loss"]) and kept.data.metrics["top"] > 1e308
    assert kept.data.tags["a key with signs"] == "it's"
    assert kept.inputs.dataset_inputs[0].dataset.name == "claims"
    history = client.get_metric_history(run.info.run_id, "loss")
    assert [point.step for point in history] == [0, 1, 2, 3, 4, 5]
    assert [point.value for point in history][:2] == [1.0, 0.5] and math.isnan(history[5].value)
    names = sorted(file.path for file in client.list_artifacts(run.info.run_id))
    assert names == ["config", "large.bin", "notes"], names
    assert [file.path for file in client.list_artifacts(run.info.run_id, "notes")] == ["notes/n ä.txt"]
    copy = client.download_artifacts(run.info.run_id, "large.bin", tempfile.mkdtemp())
    assert pathlib.Path(copy).read_bytes() == (folder / "large.bin").read_bytes()
    assert mlflow.artifacts.load_text(f"{run.info.artifact_uri}/notes/n ä.txt") == "hello"
    with mlflow.start_run(run_name="parent"):
        with mlflow.start_run(run_name="child", nested=True):
            mlflow.log_metric("auc", 0.1)
    return experiment.experiment_id


def batches(client, experiment):
    run = client.create_run(experiment, run_name="batch")
    now = int(time.time() * 1000)
    points = [Metric("loss", step / 7, now + step, step) for step in range(1000)]
    client.log_batch(run.info.run_id, points, [Param("a", "1")], [RunTag("b", "2")])
    client.log_batch(run.info.run_id, points[:10], [Param("a", "1")], [RunTag("b", "3")])
    assert len(client.get_metric_history(run.info.run_id, "loss")) == 1000
    kept = client.get_run(run.info.run_id)
    assert kept.data.metrics["loss"] == 999 / 7 and kept.data.tags["b"] == "3"
    client.update_run(run.info.run_id, status="KILLED", name="renamed")
    assert client.get_run(run.info.run_id).info.run_name == "renamed"
    client.delete_tag(run.info.run_id, "b")
    client.delete_run(run.info.run_id)
    assert client.get_run(run.info.run_id).info.lifecycle_stage == "deleted"
    client.restore_run(run.info.run_id)
    refused("RESOURCE_DOES_NOT_EXIST", lambda: client.get_run("0" * 32))


def searching(client, experiment):
    def found(filter_string, **more):
        return [run.info.run_name for run in client.search_runs([experiment], filter_string, **more)]

    assert found("metrics.auc > 0.8 and params.depth = '3' and tags.`team` LIKE 'de%'") == ["first"]
    assert found("tags.\"a key with signs\" = \"it's\"") == ["first"]
    assert found("attributes.status = 'FINISHED' and run_name ILIKE 'CHILD'") == ["child"]
    assert found("datasets.name = 'claims'") == ["first"]
    assert found("metrics.auc < 1", order_by=["metrics.auc ASC"]) == ["child", "first"]
    assert found("", order_by=["start_time ASC"], max_results=2) == ["first", "parent"]
    words = refused("INVALID_PARAMETER_VALUE", lambda: found("metrcs.auc > 1"))
    page = client.search_runs([experiment], max_results=1, order_by=["start_time ASC"])
    seen = [page[0].info.run_name]
    while page.token:
        page = client.search_runs([experiment], max_results=1, order_by=["start_time ASC"], page_token=page.token)
        seen += [run.info.run_name for run in page]
    assert seen == ["first", "parent", "child", "renamed"], seen
    frame = mlflow.search_runs([experiment], "attributes.run_name = 'first'")
    assert frame["params.depth"].tolist() == ["3"] and frame["metrics.auc"].tolist() == [0.9]
    assert [e.name for e in client.search_experiments(filter_string=f"name LIKE 'claims {SALT}'")] == [f"claims {SALT}"]
    return words


def registry(client):
    frame, labels = data()
    name = f"Forest {SALT}"
    model = LogisticRegression().fit(frame, labels)
    signature = infer_signature(frame, labels)
    with mlflow.start_run(run_name="registered") as run:
        logged = log_named(mlflow.sklearn, model, "model", signature=signature, registered_model_name=name)
    second = mlflow.register_model(logged.model_uri, name, tags={"from": "uri"})
    third = mlflow.register_model(f"runs:/{run.info.run_id}/model", name)
    assert [int(version.version) for version in (second, third)] == [2, 3]
    versions = client.search_model_versions(f"name = '{name}'", order_by=["version_number ASC"])
    assert [int(version.version) for version in versions] == [1, 2, 3]
    assert all(version.status == "READY" for version in versions), versions
    assert {version.run_id for version in versions} == {run.info.run_id}, versions
    client.set_registered_model_alias(name, "champion", "2")
    client.set_registered_model_alias(name, "Old-One", "1")
    assert int(client.get_model_version_by_alias(name, "champion").version) == 2
    assert client.get_model_version(name, "2").aliases == ["champion"]
    client.delete_registered_model_alias(name, "Old-One")
    assert client.get_registered_model(name).aliases.keys() == {"champion"}
    loaded = mlflow.pyfunc.load_model(f"models:/{name}@champion")
    assert (loaded.predict(frame) == model.predict(frame)).all()
    assert (mlflow.sklearn.load_model(f"models:/{name}/3").predict(frame) == model.predict(frame)).all()
    client.set_model_version_tag(name, "3", "checked", "yes")
    client.delete_model_version_tag(name, "2", "from")
    client.update_model_version(name, "3", description="the third")
    client.set_registered_model_tag(name, "team", "desk")
    client.update_registered_model(name, description="a forest")
    found = client.search_registered_models("tags.team = 'desk'")
    assert [model.name for model in found if model.name == name] == [name]
    kept = client.get_model_version(name, "3")
    assert kept.tags == {"checked": "yes"} and kept.description == "the third"
    client.transition_model_version_stage(name, "3", "Staging")
    assert client.get_latest_versions(name, ["Staging"])[0].version in ("3", 3)
    client.delete_model_version(name, "1")
    refused("RESOURCE_DOES_NOT_EXIST", lambda: client.get_model_version(name, "1"))
    client.rename_registered_model(name, f"{name} again")
    assert client.get_registered_model(f"{name} again").description == "a forest"
    return {"name": f"{name} again", "pickle": kept.status_message}


def deployable(client):
    import xgboost

    frame, labels = data()
    booster = xgboost.XGBClassifier(n_estimators=5, max_depth=2).fit(frame, labels)
    with mlflow.start_run(run_name="boosted"):
        log_named(
            mlflow.xgboost, booster, "boosted", signature=infer_signature(frame, labels),
            registered_model_name=f"boosted-{SALT}", model_format="ubj",
        )
    kept = client.get_model_version(f"boosted-{SALT}", "1")
    rows = frame.head(20).to_dict("records")
    told = {
        "name": f"boosted-{SALT}", "version": int(kept.version), "message": kept.status_message,
        "rows": [{name: float(value) for name, value in row.items()} for row in rows],
        "probabilities": booster.predict_proba(frame.head(20))[:, 1].astype(float).tolist(),
    }
    if IS_3:
        import skl2onnx

        linear = LogisticRegression().fit(frame, labels)
        graph = skl2onnx.to_onnx(linear, frame.to_numpy()[:1], options={"zipmap": False})
        with mlflow.start_run(run_name="graph"):
            mlflow.onnx.log_model(
                graph, name="graph", signature=infer_signature(frame, labels), registered_model_name="graph",
            )
        told["graph"] = {
            "message": client.get_model_version("graph", "1").status_message,
            "probabilities": linear.predict_proba(frame.head(20))[:, 1].astype(float).tolist(),
        }
    client.transition_model_version_stage(f"boosted-{SALT}", "1", "Production")
    assert client.get_model_version(f"boosted-{SALT}", "1").current_stage == "Production"
    return told


def logged_models(client, experiment):
    if not IS_3:
        return
    found = mlflow.search_logged_models([experiment], output_format="list")
    assert {model.name for model in found} >= {"model", "boosted"}, found
    model = mlflow.get_logged_model(found[0].model_id)
    assert model.status == "READY"
    mlflow.set_logged_model_tags(model.model_id, {"checked": "yes"})
    assert mlflow.get_logged_model(model.model_id).tags["checked"] == "yes"
    with mlflow.start_run():
        mlflow.log_metric("accuracy", 0.75, model_id=model.model_id)
    assert mlflow.get_logged_model(model.model_id).metrics[0].value == 0.75
    found = mlflow.search_logged_models(
        [experiment], filter_string="metrics.accuracy > 0.7", output_format="list",
        order_by=[{"field_name": "creation_time", "ascending": False}],
    )
    assert [one.model_id for one in found] == [model.model_id]


def prompts():
    if not IS_3:
        return None
    name = f"greeting-{SALT}"
    first = mlflow.genai.register_prompt(name=name, template="Good morning, {{who}}.")
    second = mlflow.genai.register_prompt(name=name, template="Good evening, {{who}}.", commit_message="later")
    assert (first.version, second.version) == (1, 2)
    assert mlflow.genai.load_prompt(f"prompts:/{name}/1").format(who="Ana") == "Good morning, Ana."
    assert name in [prompt.name for prompt in mlflow.genai.search_prompts()]
    assert name not in [model.name for model in MlflowClient().search_registered_models()]
    return name


def main():
    client = MlflowClient()
    experiment = tracking(client)
    batches(client, experiment)
    wrong_filter = searching(client, experiment)
    told = {"mlflow": mlflow.__version__, "experiment": experiment, "registry": registry(client), "wrong_filter": wrong_filter}
    told["deployable"] = deployable(client)
    logged_models(client, experiment)
    told["prompt"] = prompts()
    print(json.dumps(told))


def wrong_password():
    begun = time.monotonic()
    try:
        MlflowClient().search_experiments()
    except MlflowException as error:
        print(json.dumps({"error": str(error), "seconds": time.monotonic() - begun}))
        return
    sys.exit("a wrong password was let in")


if __name__ == "__main__":
    {"all": main, "wrong-password": wrong_password}[sys.argv[1]]()
