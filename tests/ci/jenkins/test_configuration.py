"""The controller's configuration, held to what the plugins take; and what it must not allow."""

import copy
import ipaddress
import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest
import yaml

from ci import configuration
from ci.errors import InputError
from ci.jenkins import rendering
from ci.run import jenkins
from scripts import jenkins as command
from tests.ci.jenkins import casc
from tests.k8s.rendering import objects
from tests.pods import REPOSITORY

CONTROLLER = REPOSITORY / "ci/jenkins/controller"
SECRET = rendering.secret({}, lambda: "drawn-at-random-0123456789")["stringData"]
VALUES = {**SECRET, "JENKINS_URL": "https://ci.example.com/"}


def settings(**given):
    base = configuration.read(REPOSITORY / "tests/pipeline.yaml").jenkins
    return base.model_copy(
        update={"repository": "https://github.com/you/fork.git", "url": "https://ci.example.com"} | given
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What is mounted: the files of the ConfigMap."""
    found = tmp_path_factory.mktemp("configuration")
    for name, text in objects("ci/jenkins/controller")["ConfigMap", "jenkins-configuration"]["data"].items():
        (found / name).write_text(text)
    return found


@pytest.fixture(scope="module")
def loaded(folder):
    return casc.load(folder, VALUES.get)


def test_the_configuration_has_only_keys_that_jenkins_knows_and_every_variable_a_value(loaded, folder):
    assert set(loaded) == {"jenkins", "credentials", "unclassified"}
    names = set(re.findall(r"\$\{(\w+)\}", re.sub("#.*", "", "".join(path.read_text() for path in folder.iterdir()))))
    mounted = {item["path"] for item in volumes()["secrets"]["secret"]["items"]}
    assert names == mounted | {"JENKINS_URL"}, "each comes from the Secret, key by key, or from the pod"
    with pytest.raises(ValueError, match="ROBOT_PASSWORD} has no value"):
        casc.load(folder, {name: text for name, text in VALUES.items() if name != "ROBOT_PASSWORD"}.get)


def test_the_schema_refuses_what_ends_the_start_of_jenkins(loaded):
    schema = json.loads(casc.SCHEMA.read_text())
    for change in (
        lambda each: each["jenkins"].update(numExecutorz=1),
        lambda each: each["jenkins"].update(numExecutors="0"),
        lambda each: each["jenkins"]["clouds"][0]["kubernetes"].update(podLabels={"a": "b"}),
        lambda each: each["jenkins"]["securityRealm"]["local"]["users"][1].update(password=""),
        lambda each: each["jenkins"]["authorizationStrategy"]["projectMatrix"]["entries"].append(
            {"user": {"name": "anonymous", "permissions": ["Overall/Read"]}}
        ),
    ):
        broken = copy.deepcopy(loaded)
        change(broken)
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(broken, schema)


def test_nobody_but_two_users_may_do_anything_and_nothing_is_built_on_the_controller(loaded):
    realm, strategy = (loaded["jenkins"][name] for name in ("securityRealm", "authorizationStrategy"))
    assert [user["id"] for user in realm["local"]["users"]] == ["admin", jenkins.USER]
    entries = {entry["user"]["name"]: entry["user"]["permissions"] for entry in strategy["projectMatrix"]["entries"]}
    assert entries == {"admin": ["Overall/Administer"], jenkins.USER: ["Overall/Read"]}
    assert (loaded["jenkins"]["numExecutors"], loaded["jenkins"]["slaveAgentPort"]) == (0, -1)
    said = (CONTROLLER / "controller.yml").read_text() + (CONTROLLER / "controller.yaml").read_text()
    for word in (
        "DirectoryBrowserSupport",
        "CSP",
        "globalLibraries",
        "globalDefaultFlow",
        "disable-csrf",
        "cache_default",
    ):
        assert word not in said, f"{word}: left at its default"


def test_every_lock_that_the_jenkinsfile_names_is_declared(loaded):
    declared = {each["name"] for each in loaded["unclassified"]["lockableResourcesManager"]["declaredResources"]}
    text = (REPOSITORY / "Jenkinsfile").read_text()
    assert set(re.findall(r"lock\(resource: '([^']+)'", text)) <= declared
    assert all(name.startswith("deploy-") for name in declared)


def test_agents_come_where_the_role_is_and_over_the_service(loaded):
    cloud = loaded["jenkins"]["clouds"][0]["kubernetes"]
    role = objects("ci/jenkins")["Role", "jenkins-agents"]
    assert cloud["namespace"] == role["metadata"]["namespace"] == rendering.AGENTS
    applied = objects("ci/jenkins/controller")
    service = applied["Service", "jenkins"]
    host = f"{service['metadata']['name']}.{service['metadata']['namespace']}.svc.cluster.local"
    assert cloud["jenkinsUrl"] == f"http://{host}:{service['spec']['ports'][0]['port']}/"
    [subject] = objects("ci/jenkins")["RoleBinding", "jenkins-agents"]["subjects"]
    account = applied["ServiceAccount", subject["name"]]
    assert account["metadata"]["namespace"] == subject["namespace"] == rendering.NAMESPACE
    assert not [kind for kind, _ in applied if "Role" in kind], "it has no right in its own namespace"


def test_the_pod_is_what_the_image_needs():
    pod = objects("ci/jenkins/controller")["StatefulSet", "jenkins"]["spec"]["template"]["spec"]
    [container] = pod["containers"]
    mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    env = {each["name"]: each["value"] for each in container["env"]}
    assert {"/var/jenkins_home", "/tmp", "/var/cache/jenkins"} <= set(mounts)  # noqa: S108
    assert env["CASC_JENKINS_CONFIG"] in mounts
    assert env["SECRETS"] in mounts
    assert env["JENKINS_OPTS"] == "--webroot=/var/cache/jenkins/war"
    assert env["JENKINS_SLAVE_AGENT_PORT"] == ""
    assert "runSetupWizard=false" in env["JAVA_OPTS"]
    assert "initialDelay" not in env["JAVA_OPTS"], "with 0 the first build can wait for ever"
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"] == {"path": "/login", "port": "http"}
    for mount in container["volumeMounts"]:
        if "subPath" in mount:
            assert mount["mountPath"].startswith("/usr/share/jenkins/ref/")
            assert mount["mountPath"].endswith(".override")
            source = volumes()[mount["name"]]
            assert source.get("configMap", source.get("secret"))["defaultMode"] == 0o644
    assert volumes()["notify"]["secret"]["items"] == [{"key": "notify.xml", "path": "notify.xml"}]


def volumes():
    pod = objects("ci/jenkins/controller")["StatefulSet", "jenkins"]["spec"]["template"]["spec"]
    return {volume["name"]: volume for volume in pod["volumes"]}


# -- the job --------


def made(source: str, **given) -> ElementTree.Element:
    text = (CONTROLLER / f"job-{source}.xml").read_text()
    return ElementTree.fromstring(rendering.job(text, settings(source=source, **given)))  # noqa: S314


@pytest.mark.parametrize("source", ["git", "github"])
def test_the_job_scans_daily_gives_the_robot_its_rights_and_reads_the_jenkinsfile(source):
    root = made(source)
    assert root.tag == "org.jenkinsci.plugins.workflow.multibranch.WorkflowMultiBranchProject"
    assert [each.text for each in root.iter("permission")] == [
        f"USER:hudson.model.Item.{right}:{jenkins.USER}" for right in ("Read", "Build", "Cancel")
    ]
    [trigger] = root.find("triggers")
    assert trigger.find("interval").text == str(24 * 60 * 60 * 1000)
    assert root.find("factory/scriptPath").text == "Jenkinsfile"
    assert (REPOSITORY / "Jenkinsfile").exists()


GITHUB, FOLDER = "org.jenkinsci.plugins.github_branch_source", "com.cloudbees.hudson.plugins.folder"
FIELDS = {
    "org.jenkinsci.plugins.workflow.multibranch.WorkflowMultiBranchProject": {
        "actions", "description", "properties", "orphanedItemStrategy", "triggers", "disabled", "sources", "factory",
    },
    f"{FOLDER}.properties.AuthorizationMatrixProperty": {"inheritanceStrategy", "permission"},
    "org.jenkinsci.plugins.matrixauth.inheritance.InheritParentStrategy": set(),
    f"{FOLDER}.computed.DefaultOrphanedItemStrategy": {"pruneDeadBranches", "daysToKeep", "numToKeep", "abortBuilds"},
    f"{FOLDER}.computed.PeriodicFolderTrigger": {"spec", "interval"},
    "jenkins.branch.MultiBranchProject$BranchSourceList": {"data", "owner"},
    "jenkins.branch.BranchSource": {"source", "strategy", "buildStrategies"},
    "jenkins.branch.DefaultBranchPropertyStrategy": {"properties"},
    "jenkins.plugins.git.GitSCMSource": {"id", "remote", "credentialsId", "traits"},
    "jenkins.plugins.git.traits.BranchDiscoveryTrait": set(),
    f"{GITHUB}.GitHubSCMSource": {
        "id", "apiUri", "credentialsId", "repoOwner", "repository", "repositoryUrl", "traits",
    },
    f"{GITHUB}.BranchDiscoveryTrait": {"strategyId"},
    f"{GITHUB}.ForkPullRequestDiscoveryTrait": {"strategyId", "trust"},
    f"{GITHUB}.ForkPullRequestDiscoveryTrait$TrustNobody": set(),
    "org.jenkinsci.plugins.workflow.multibranch.WorkflowBranchProjectFactory": {"owner", "scriptPath"},
}  # fmt: skip
"""By class, the fields of an object that Jenkins writes, as the sources of the plugins declare them. XStream refuses
others, and a job whose file does not load is not there."""


def classes(element: ElementTree.Element) -> Iterator[tuple[str, set[str]]]:
    """Yield the class of each object in a job's XML, with the fields that it has; as XStream, `_` is written twice."""
    children = [child for child in element if isinstance(child.tag, str)]
    name = element.get("class") or (element.tag.replace("__", "_") if "." in element.tag else None)
    if name and name != "empty-list" and "reference" not in element.attrib:
        yield name, {child.tag for child in children}
    for child in children:
        yield from classes(child)


@pytest.mark.parametrize("source", ["git", "github"])
def test_the_job_has_only_fields_that_the_plugins_declare(source):
    found = list(classes(made(source)))
    assert len(found) >= 10
    assert [(name, fields) for name, fields in found if name not in FIELDS or not fields <= FIELDS[name]] == []


def test_the_plugins_of_other_hosts_are_named_and_the_job_uses_the_one_that_is_installed():
    plugins = (REPOSITORY / "ci/jenkins/plugins.txt").read_text()
    guide = (REPOSITORY / "docs/jenkins.md").read_text()
    for plugin in ("github-branch-source", "gitlab-branch-source", "gitea"):
        assert f"`{plugin}`" in guide
        assert plugin in plugins
    assert "\ngithub-branch-source:" in plugins


def test_a_repository_of_github_brings_pull_requests_and_trusts_no_fork():
    [source] = made("github").iter("source")
    assert {name: source.find(name).text for name in ("apiUri", "repoOwner", "repository", "repositoryUrl")} == {
        "apiUri": "https://api.github.com", "repoOwner": "you", "repository": "fork",
        "repositoryUrl": "https://github.com/you/fork",
    }  # fmt: skip
    [trust] = source.iter("trust")
    assert trust.get("class").endswith("ForkPullRequestDiscoveryTrait$TrustNobody")
    traits = {each.tag.rpartition(".")[2]: each.find("strategyId").text for each in source.find("traits")}
    assert traits == {"BranchDiscoveryTrait": "3", "ForkPullRequestDiscoveryTrait": "1"}
    [own] = made("github", repository="https://git.example.com/you/fork").iter("source")
    assert own.find("apiUri").text == "https://git.example.com/api/v3"


@pytest.mark.parametrize(
    "repository",
    ["https://git.example.com/you/fork.git", "http://host:3000/x", "git://host/x.git",
     "https://x/]]></remote><evil/>&$(id)", "https://host/ünï"],
)  # fmt: skip
def test_any_address_is_text_in_the_job(repository):
    [source] = made("git", repository=repository).iter("source")
    assert source.find("remote").text == repository
    assert [child.tag for child in source if isinstance(child.tag, str)] == ["id", "remote", "credentialsId", "traits"]


@pytest.mark.parametrize(
    "repository",
    ["http://github.com/you/fork", "https://github.com/you", "https://github.com/a/b/c", "https://gitlab.com/you/fork",
     "https://gitlab.example.com/you/fork", "https://codeberg.org/you/fork", "https://bitbucket.org/you/fork"],
)  # fmt: skip
def test_what_is_no_repository_of_github_is_refused(repository):
    with pytest.raises(InputError, match=r"jenkins\.repository: .*expected https://github.com/OWNER/NAME"):
        made("github", repository=repository)


def test_without_credentials_none_are_named():
    for root in (made("git", credentials=False), made("git", repository=None), made("github", credentials=False)):
        assert not list(root.iter("credentialsId"))
    assert [each.text for each in made("git", repository=None).iter("remote")] == [rendering.DEMO]


# -- what is applied --------


def put(folder="ci/jenkins/controller", **given):
    jobs = {name: (CONTROLLER / f"job-{name}.xml").read_text() for name in ("git", "github")}
    found = rendering.put(list(objects(folder).values()), jobs, settings(**given), "host/jenkins@sha256:1")
    return {(each["kind"], each["metadata"]["name"]): each for each in found}


def test_image_address_and_job_are_put_in_and_a_change_restarts_the_pod():
    before = json.dumps(list(objects("ci/kind/jenkins").values()))
    applied = put("ci/kind/jenkins", job="mine")
    assert json.dumps(list(objects("ci/kind/jenkins").values())) == before
    for name in ("jenkins", "git"):
        [container] = applied["StatefulSet", name]["spec"]["template"]["spec"]["containers"]
        assert container["image"] == "host/jenkins@sha256:1"
    text = json.dumps(applied["StatefulSet", "jenkins"])
    assert "/ref/jobs/mine/config.xml.override" in text
    assert '"https://ci.example.com/"' in text
    digests = [
        each["StatefulSet", "jenkins"]["spec"]["template"]["metadata"]["annotations"]["model-pipeline/configuration"]
        for each in (put(), put(), put(repository="https://github.com/you/other"))
    ]
    assert digests[0] == digests[1] != digests[2]


def test_keys_of_githubs_plugin_are_there_only_with_its_source(tmp_path):
    for source, there in (("github", True), ("git", False)):
        files = put(source=source)["ConfigMap", "jenkins-configuration"]["data"]
        assert ("github.yml" in files) == there
        for name, text in files.items():
            (tmp_path / name).write_text(text)
        casc.load(tmp_path, VALUES.get)
        for name in files:
            (tmp_path / name).unlink()


@pytest.mark.parametrize(
    ("given", "key"),
    [
        *(({"job": name}, "job") for name in ("team/x", "a\nb", "..", "x:y", "a?", "end.")),
        ({"branch": None}, "branch"),
        *(({"url": url}, "url") for url in ("ci.example.com", "${ADMIN_PASSWORD}", "https://a:b@ci.example.com")),
        *(({"repository": f"https://{who}@github.com/you/fork"}, "repository") for who in ("you:t0ken", "t0ken")),
        *(({"repository": url}, "repository") for url in ("https://[x/y", "https://github.com:x/you/fork")),
        ({"source": "git", "repository": "ssh://git:t0ken@git.example.com/fork"}, "repository"),
        ({"source": "git", "repository": "git://git:t0ken@git.example.com/fork"}, "repository"),
    ],
)
def test_settings_that_a_controller_of_ours_cannot_have_are_refused_by_name(given, key):
    with pytest.raises(InputError, match=rf"jenkins\.{key}: ") as found:
        put(**given)
    assert "t0ken" not in str(found.value)


@pytest.mark.parametrize("source", ["git", "github"])
@pytest.mark.parametrize("repository", ["git@github.com:you/fork", "ssh://git@git.example.com:22/you/fork.git"])
def test_a_repository_that_would_need_a_key_is_refused_with_the_way_that_there_is(source, repository):
    with pytest.raises(InputError, match=r"jenkins\.repository: .* by SSH, .*name its https address"):
        put(source=source, repository=repository)


def test_a_secret_has_all_that_is_mounted_and_the_digest_of_its_token():
    drawn = iter(f"random-{n:030}" for n in range(9))
    made = rendering.secret({"GIT_USER": "bot", "GIT_TOKEN": "$t:'\"", "OTHER": "x"}, lambda: next(drawn))["stringData"]
    mounted = [item["key"] for volume in volumes().values() if "secret" in volume for item in volume["secret"]["items"]]
    git = objects("ci/kind/jenkins")["StatefulSet", "git"]["spec"]["template"]["spec"]["volumes"]
    mounted += [item["key"] for volume in git if "secret" in volume for item in volume["secret"]["items"]]
    assert set(made) == set(mounted)
    assert (made["GIT_USER"], made["GIT_TOKEN"]) == ("bot", "$t:'\"")
    assert len({made[name] for name in ("ADMIN_PASSWORD", "ROBOT_PASSWORD", "NOTIFY_TOKEN", "WEBHOOK_SECRET")}) == 4
    assert made["NOTIFY_TOKEN"] not in made["notify.xml"]


def test_the_commands_for_another_cluster_print_what_kubectl_takes(monkeypatch, capsys):
    monkeypatch.chdir(REPOSITORY)
    given = ["--set", "jenkins.repository=https://github.com/you/fork", "--set", "jenkins.url=https://ci.example.com"]
    assert command.main(["manifests", *given]) == 0
    printed = list(yaml.safe_load_all(capsys.readouterr().out))
    assert {each["kind"] for each in printed} >= {"Namespace", "StatefulSet", "Service", "NetworkPolicy", "ConfigMap"}
    assert command.main(["secret"]) == 0
    first = capsys.readouterr().out
    assert yaml.safe_load(first)["metadata"] == {"name": "jenkins", "namespace": "jenkins"}
    assert command.main(["secret"]) == 0
    assert capsys.readouterr().out != first
    assert command.main(["manifests"]) == 2
    assert "jenkins.repository and jenkins.url" in capsys.readouterr().err


def test_a_pull_request_reaches_no_address_that_clusters_give_to_their_own():
    policy = objects("ci/jenkins/pull-requests")["NetworkPolicy", "pull-requests"]["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in policy
    [block] = [to["ipBlock"] for rule in policy["egress"] for to in rule.get("to", ()) if "ipBlock" in to]
    closed = [ipaddress.ip_network(each) for each in block["except"]]
    for address in ("10.96.0.1", "172.20.0.10", "192.168.1.1", "169.254.169.254", "100.64.0.1", "100.100.100.200"):
        assert any(ipaddress.ip_address(address) in each for each in closed), address


def test_what_is_opened_in_the_network_is_what_is_listened_to():
    applied = objects("ci/kind/jenkins")
    assert applied["NetworkPolicy", "default-deny"]["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for name, port in (("jenkins", 8080), ("git", 9418)):
        pod = applied["StatefulSet", name]["spec"]["template"]
        [listened] = pod["spec"]["containers"][0]["ports"]
        assert listened["containerPort"] == port
        spec = applied["NetworkPolicy", name]["spec"]
        assert spec["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
        assert all(rule["ports"] == [{"port": listened["name"]}] for rule in spec["ingress"])
        assert all(rule["from"] for rule in spec["ingress"]), "never from everybody"


def test_the_hook_is_a_script_that_tells_the_address_and_hides_the_token():
    hook = (REPOSITORY / "ci/kind/jenkins/post-receive").read_text()
    assert "token@/run/secrets/notify/NOTIFY_TOKEN" in hook
    pod = objects("ci/kind/jenkins")["StatefulSet", "git"]["spec"]["template"]["spec"]["containers"][0]
    env = {each["name"]: each["value"] for each in pod["env"]}
    assert env["REPOSITORY"] == rendering.DEMO
    assert Path("/etc/git-hooks") in [Path(mount["mountPath"]) for mount in pod["volumeMounts"]]
