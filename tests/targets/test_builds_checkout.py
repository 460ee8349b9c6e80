"""Which tree a checkout holds, by real git and jj."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from builds_support import Source, run

from lab.core.errors import ExternalError, PreconditionError
from lab.targets.materialize.checkout import Checkout, TreeIdentity


@pytest.mark.parametrize(
    ("made", "code"),
    [
        ((), "checkout.missing"),
        (("README.md",), "checkout.not-materialize"),
        (("bin/environmentd",), "checkout.not-materialize"),
        (("src/environmentd/main.rs",), "checkout.not-materialize"),
    ],
)
def test_what_is_no_checkout(tmp_path: Path, made: tuple[str, ...], code: str) -> None:
    root = tmp_path / "checkout"
    for name in made:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()

    with pytest.raises(PreconditionError) as refused:
        Checkout.open(root)

    assert refused.value.code == code
    assert "checkout" in refused.value.remedy


def test_a_clean_tree_is_its_commit(source: Source) -> None:
    commit = source.git("rev-parse", "HEAD").strip()
    assert source.checkout.identity() == TreeIdentity(commit, "", "")


@pytest.mark.parametrize("name", ["new.rs", "src/environmentd/main.rs", "bin/environmentd"])
def test_edits_make_it_dirty_and_taking_them_back_clean(source: Source, name: str) -> None:
    path = source.root / name
    before = path.read_bytes() if path.exists() else None
    clean = source.checkout.identity()

    path.write_text("one")
    one = source.checkout.identity()
    path.write_text("two")
    two = source.checkout.identity()

    assert len({clean.dirty, one.dirty, two.dirty}) == 3
    assert clean.commit == one.commit == two.commit
    path.unlink() if before is None else path.write_bytes(before)
    assert source.checkout.identity() == clean


def test_a_mode_a_link_and_a_missing_file_count(source: Source) -> None:
    found = {source.checkout.identity().dirty}
    main = source.root / "src/environmentd/main.rs"
    main.chmod(0o755)
    found.add(source.checkout.identity().dirty)
    main.unlink()
    found.add(source.checkout.identity().dirty)
    main.symlink_to("nowhere")
    found.add(source.checkout.identity().dirty)
    assert len(found) == 4


def test_the_labs_own_records_and_repositories_inside_do_not_count(source: Source) -> None:
    clean = source.checkout.identity()
    for name in ("ddl-perf-log.md", "ddl-perf-evidence/001/run.json", "lab.toml", "target/x"):
        (source.root / name).parent.mkdir(parents=True, exist_ok=True)
        (source.root / name).write_text("x")
    inner = source.root / "logs"
    inner.mkdir()
    run("git", "init", "--quiet", ".", folder=inner)
    (inner / "README.md").write_text("x")

    assert source.checkout.identity() == clean


def test_the_tree_is_the_same_after_its_edits_were_committed(source: Source) -> None:
    source.edit("fn main() { edited(); }\n")
    (source.root / "new file.rs").write_text("é\n")
    built = source.checkout.identity()
    assert source.checkout.holds(built.commit, built.dirty)

    source.commit("the edits")
    assert source.checkout.identity().dirty == ""
    assert source.checkout.holds(built.commit, built.dirty) is True
    assert source.checkout.holds(built.commit[:9], built.dirty) is True

    source.edit("fn main() { edited_again(); }\n")
    assert source.checkout.holds(built.commit, built.dirty) is False
    assert source.checkout.holds("0123456789", "") is None


def test_a_repository_around_the_checkout_is_not_its_own(tmp_path: Path, source: Source) -> None:
    outer = tmp_path / "outer"
    inner = outer / "inner"
    shutil.copytree(source.root, inner)
    shutil.rmtree(inner / ".git")
    run("git", "init", "--quiet", ".", folder=outer)

    assert Checkout.open(inner).identity() == TreeIdentity()
    assert Checkout.open(inner).holds("0123456789", "") is None


def test_a_broken_repository_is_told(source: Source) -> None:
    (source.root / ".git/index").write_bytes(b"broken")
    with pytest.raises(ExternalError) as failed:
        source.checkout.identity()
    assert failed.value.code == "checkout.unreadable"
    assert "index" in failed.value.why


@pytest.fixture
def jj(source: Source) -> Source:
    if shutil.which("jj") is None:
        pytest.skip("needs jj on PATH; tests/install_jj.sh installs it")
    run("jj", "git", "init", "--colocate", "--quiet", ".", folder=source.root)
    return source


def _ids(root: Path, revision: str) -> str:
    template = 'commit_id ++ " " ++ change_id'
    asked = ("log", "--no-graph", "-r", revision, "-T", template, "--ignore-working-copy")
    return run("jj", *asked, folder=root)


def test_ids_of_jj(jj: Source) -> None:
    commit, change = _ids(jj.root, "@-").split()
    assert jj.checkout.identity() == TreeIdentity(commit, change, "")

    jj.edit("fn main() { edited(); }\n")
    before = _ids(jj.root, "@")
    edited = jj.checkout.identity()

    assert (edited.commit, edited.change) == (commit, before.split()[1])
    assert edited.dirty
    assert _ids(jj.root, "@") == before, "looking must record nothing"
    run("jj", "--quiet", "commit", "-m", "edits", folder=jj.root)
    committed = jj.checkout.identity()
    assert (committed.change, committed.dirty) == (edited.change, "")
    assert committed.commit != edited.commit
    assert jj.checkout.holds(edited.commit, edited.dirty) is True


@pytest.mark.parametrize("colocated", [True, False])
def test_a_second_jj_workspace(jj: Source, tmp_path: Path, colocated: bool) -> None:
    root = tmp_path / "second"
    if colocated:
        run("jj", "--quiet", "workspace", "add", str(root), folder=jj.root)
    else:
        backed = ("git", "init", "--quiet", "--no-colocate", f"--git-repo={jj.root}", str(root))
        run("jj", *backed, folder=tmp_path)
        run("jj", "--quiet", "new", "main", folder=root)
        assert not (root / ".git").exists()
    clean = Checkout.open(root).identity()
    assert (clean.commit, clean.dirty) == (_ids(root, "@-").split()[0], "")

    (root / "src/environmentd/main.rs").write_text("fn main() { other(); }\n")
    operations = run("jj", "op", "log", "--no-graph", "--ignore-working-copy", folder=root)
    edited = Checkout.open(root).identity()

    assert edited.dirty
    assert edited.change == _ids(root, "@").split()[1]
    after = run("jj", "op", "log", "--no-graph", "--ignore-working-copy", folder=root)
    assert after == operations
    assert Checkout.open(root).holds(edited.commit, edited.dirty) is True
