"""What an image's config says, judged as the platform judges it."""

from __future__ import annotations

import pytest
from image_archives import image_config

from synthct.grand_challenge.sandbox.findings import Findings
from synthct.grand_challenge.sandbox.image import API_LABEL, ImageFacts, check_image, check_passwd, known_uids
from synthct.grand_challenge.sandbox.verdict import Verdict

KNOWN_USERS = "root:x:0:0:root:/root:/bin/sh\nsomeone:x:1000:1000::/home/someone:/bin/sh\nbroken line\n"


def facts(size: int = 1_000_000, *, compressed: bool = True, **settings: object) -> ImageFacts:
    return ImageFacts.from_config(image_config(**settings), size=size, compressed=compressed)


def verdicts(found: ImageFacts) -> dict[str, Verdict]:
    findings = Findings()
    check_image(found, findings)
    return {finding.id: finding.verdict for finding in findings.all() if finding.verdict is not Verdict.PASS}


def test_a_sound_image_passes_all() -> None:
    assert verdicts(facts()) == {}


@pytest.mark.parametrize("user", ["user", "algorithm", "a.b_c-d", "1000", "1000:1000", "user:group", "65532"])
def test_users_that_are_taken(user: str) -> None:
    assert verdicts(facts(User=user)) == {}


@pytest.mark.parametrize(
    "user", ["", None, "root", "0", "root:root", "0:0", "root:1000", "_user", "-1", "us er", "user:", "a:b:c", "user\n"]
)
def test_users_that_are_refused(user: str | None) -> None:
    assert verdicts(facts(User=user)) == {"image.user": Verdict.REFUSED}


@pytest.mark.parametrize("architecture", ["arm64", "386", "", None, "AMD64"])
def test_other_architectures_are_refused(architecture: str | None) -> None:
    assert verdicts(facts(architecture=architecture)) == {"image.architecture": Verdict.REFUSED}


@pytest.mark.parametrize(("label", "api"), [("exec", "exec"), ("invoke", "invoke")])
def test_known_labels(label: str, api: str) -> None:
    found = facts(Labels={API_LABEL: label})
    assert (verdicts(found), found.api) == ({}, api)


def test_no_label_is_exec() -> None:
    assert facts(Labels=None).api == facts(Labels={"other": "invoke"}).api == "exec"


@pytest.mark.parametrize("label", ["", "Exec", "rest", "invoke ", 1])
def test_any_other_label_is_refused(label: object) -> None:
    assert verdicts(facts(Labels={API_LABEL: label})) == {"image.api-method": Verdict.REFUSED}


def test_nothing_to_start_is_a_fault() -> None:
    assert verdicts(facts(Entrypoint=None, Cmd=[])) == {"image.command": Verdict.FAIL}
    assert verdicts(facts(Entrypoint=None, Cmd=["python"])) == {}


def test_variables_that_the_platform_removes_are_named() -> None:
    findings = Findings()
    check_image(facts(Env=["PATH=/bin", "GRAND_CHALLENGE_MAX_WORKERS=4"]), findings)
    (finding,) = findings.of_rule("image.environment")
    assert (finding.verdict, finding.found) == (Verdict.FAIL, "GRAND_CHALLENGE_MAX_WORKERS")


def test_size_counts_compressed() -> None:
    assert verdicts(facts(10_000_000_001)) == {"image.size": Verdict.FAIL}
    assert verdicts(facts(9_999_999_999)) == {}
    assert verdicts(facts(10_000_000_001, compressed=False)) == {"image.size": Verdict.NOT_CHECKED}


def test_volumes_hide_writes() -> None:
    assert verdicts(facts(Volumes={"/output": {}, "/data": {}})) == {"image.volumes": Verdict.NOT_CHECKED}


def test_what_the_engine_says_is_read_the_same() -> None:
    inspected = {"Architecture": "amd64", "Config": image_config()["config"]}
    assert ImageFacts.from_config(inspected, size=1, compressed=False) == facts(1, compressed=False)


@pytest.mark.parametrize("config", [{}, {"config": None}, {"config": []}, {"config": {"Labels": [], "Env": None}}])
def test_an_empty_config_is_judged_and_does_not_crash(config: dict[str, object]) -> None:
    found = verdicts(ImageFacts.from_config(config, size=0, compressed=True))
    assert found["image.user"] is Verdict.REFUSED
    assert found["image.architecture"] is Verdict.REFUSED


@pytest.mark.parametrize(
    ("user", "passwd", "verdict"),
    [
        ("someone", KNOWN_USERS, Verdict.PASS),
        ("someone:staff", KNOWN_USERS, Verdict.PASS),
        ("nobody", KNOWN_USERS, Verdict.REFUSED),
        ("some", KNOWN_USERS, Verdict.REFUSED),
        ("someone", None, Verdict.REFUSED),
        ("4711", KNOWN_USERS, Verdict.PASS),
        ("4711", None, Verdict.PASS),
    ],
)
def test_a_name_must_be_in_passwd(user: str, passwd: str | None, verdict: Verdict) -> None:
    findings = Findings()
    check_passwd(facts(User=user), passwd, findings)
    (finding,) = findings.of_rule("image.passwd")
    assert finding.verdict is verdict


def test_known_uids() -> None:
    assert known_uids(KNOWN_USERS) == {0, 1000}
    assert known_uids(None) == set()
