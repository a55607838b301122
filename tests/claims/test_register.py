"""The register of output names, without workers: who may write what."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bigpipe.claims.folder_claims import FolderClaims
from bigpipe.claims.register import Answer, Claimant, Claims, DirectClaimant
from bigpipe.claims.spool import MAX_IN_MEMORY
from bigpipe.errors import CollisionError

FREE = Answer()


def default_name(in_name):
    return f"out/{os.path.basename(in_name)}"


@pytest.fixture
def claims():
    claims = Claims(default_name)
    yield claims
    claims.close()


def test_usual_name_is_granted(claims):
    assert claims.grant([(0, "a/x.fits")]) == ["out/x.fits"]


def test_second_file_of_one_usual_name_is_granted_nothing(claims):
    names = ["a/x.fits", "b/x.fits", "c/y.fits", "d/x.fits"]
    assert claims.grant(list(enumerate(names[:3]))) == ["out/x.fits", None, "out/y.fits"]
    assert claims.grant([(3, names[3])]) == [None]


def test_nothing_is_granted_where_only_the_data_tells_the_name():
    claims = Claims(None)
    assert claims.grant([(0, "a/x.fits")]) == [None]
    claims.close()


def test_file_whose_name_cannot_be_predicted_is_granted_nothing(claims):
    files = [(0, "a/x"), (1, ["a.fits", "b.fits"]), (2, "a/y")]
    assert claims.grant(files) == ["out/x", None, "out/y"]


def test_name_that_nobody_has_is_free(claims):
    assert claims.claim(0, "a", "out/new", exists=False) == FREE


def test_file_may_claim_the_name_it_was_granted(claims):
    claims.grant([(0, "a/x")])
    assert claims.claim(0, "a/x", "out/x", exists=True) == FREE


def test_file_may_claim_its_name_again(claims):
    claims.claim(0, "a", "out/x", exists=False)
    assert claims.claim(0, "a", "out/x", exists=False) == FREE


def test_refusal_names_both_inputs_and_the_output_and_the_remedy(claims):
    claims.claim(0, "night1/a", "out/x", exists=False)
    claims.finish([(0, True)])
    refusal = claims.claim(1, "night2/a", "out/x", exists=False).refusal
    assert "'night1/a'" in refusal
    assert "'night2/a'" in refusal
    assert "'out/x'" in refusal
    assert "outname" in refusal


def test_refusal_of_a_large_group_shows_a_few_of_its_members(claims):
    group = [f"{i:04d}.fits" for i in range(5000)]
    claims.claim(0, group, "out/x", exists=False)
    claims.finish([(0, True)])
    assert len(claims.claim(1, group, "out/x", exists=False).refusal) < 1000


@pytest.mark.parametrize("other", ["./out/x", "out/../out/x", os.path.abspath("out/x")])
def test_one_place_by_different_paths_is_one_name(claims, other):
    claims.claim(0, "a", "out/x", exists=False)
    claims.finish([(0, True)])
    assert claims.claim(1, "b", other, exists=False).refusal


def test_one_place_through_a_linked_folder_is_one_name(claims, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    claims.claim(0, "a", str(tmp_path / "real" / "x"), exists=False)
    claims.finish([(0, True)])
    assert claims.claim(1, "b", str(tmp_path / "link" / "x"), exists=False).refusal


def test_link_and_the_output_it_leads_to_are_one_name(claims, tmp_path):
    (tmp_path / "x").touch()
    (tmp_path / "link").symlink_to("x")
    assert claims.claim(0, "a", str(tmp_path / "x"), exists=True) == FREE
    claims.finish([(0, True)])
    assert claims.claim(1, "b", str(tmp_path / "link"), exists=True).refusal


def test_claim_of_another_files_usual_name_waits_for_that_file(claims):
    claims.grant([(0, "a/x")])
    assert claims.claim(1, "b", "out/x", exists=False) == Answer(wait_for=0)


def test_claim_is_free_once_the_other_file_has_claimed_another_name(claims):
    claims.grant([(0, "a/x")])
    claims.claim(1, "b", "out/x", exists=False)
    claims.claim(0, "a/x", "out/elsewhere", exists=False)
    assert claims.claim(1, "b", "out/x", exists=False) == FREE


def test_claim_is_refused_once_the_other_file_has_written(claims):
    claims.grant([(0, "a/x")])
    claims.finish([(0, True)])
    assert "'a/x'" in claims.claim(1, "b", "out/x", exists=True).refusal


def test_claim_waits_for_a_file_that_has_confirmed_the_name_and_may_not_write_it(claims):
    claims.grant([(0, "a/x")])
    claims.claim(0, "a/x", "out/x", exists=True)
    assert claims.claim(1, "b", "out/x", exists=True) == Answer(wait_for=0)


def test_file_that_holds_a_name_does_not_wait_for_another(claims):
    claims.claim(0, "a", "out/x", exists=False)
    claims.claim(1, "b", "out/y", exists=False)
    assert claims.claim(1, "b", "out/x", exists=False).refusal


@pytest.mark.parametrize("asked", [False, True])
def test_name_is_free_again_if_its_file_wrote_nothing(claims, asked):
    claims.grant([(0, "a/x")])
    if asked:
        claims.claim(0, "a/x", "out/x", exists=True)
    claims.finish([(0, False)])
    assert claims.claim(1, "b", "out/x", exists=False) == FREE


def test_name_that_was_asked_for_is_free_again_if_its_file_wrote_nothing(claims):
    claims.claim(0, "a", "out/x", exists=False)
    assert claims.claim(1, "b", "out/x", exists=False) == Answer(wait_for=0)
    claims.finish([(0, False)])
    assert claims.claim(1, "b", "out/x", exists=False) == FREE


def test_names_are_free_again_however_many_files_wrote_nothing(claims):
    names = [f"out/{index}" for index in range(MAX_IN_MEMORY + 1)]
    for index, name in enumerate(names):
        claims.claim(index, "a", name, exists=False)
        claims.finish([(index, False)])
    assert all(claims.claim(-2, "b", name, exists=False) == FREE for name in names)


def test_name_is_free_again_if_its_file_goes_back_unbegun(claims):
    claims.grant([(0, "a/x")])
    claims.withdraw(0)
    assert claims.claim(1, "b", "out/x", exists=False) == FREE


def test_no_database_is_needed_for_files_that_go_back_unbegun(claims):
    for index in range(2000):
        claims.grant([(index, f"a/{index}")])
        claims.withdraw(index)
        assert claims.grant([(index, f"a/{index}")]) == [f"out/{index}"]
        claims.finish([(index, True)])
    assert "_database" not in vars(claims)
    assert claims.claim(2000, "b", "out/0", exists=False).refusal
    assert claims.claim(2001, "b", "out/1999", exists=False).refusal


def test_file_that_claims_in_vain_does_not_free_the_owners_name(claims):
    claims.claim(0, "a", "out/x", exists=False)
    claims.finish([(0, True)])
    claims.claim(1, "b", "out/x", exists=False)
    claims.finish([(1, False)])
    assert claims.claim(2, "c", "out/x", exists=False).refusal


def test_file_may_write_several_names_and_keeps_them_all(claims):
    for name in ("out/x", "out/y", "out/x"):
        assert claims.claim(0, "a", name, exists=False) == FREE
    claims.finish([(0, True)])
    for name in ("out/x", "out/y"):
        assert claims.claim(1, "b", name, exists=False).refusal


@pytest.mark.parametrize("is_known", [True, False], ids=["a list", "one by one"])
def test_output_over_an_input_is_refused_and_the_input_named(tmp_path, is_known):
    names = [str(tmp_path / name) for name in ("a", "b")]
    for name in names:
        Path(name).touch()
    claims = Claims(None, names if is_known else None)
    for index, name in enumerate(names):
        claims.grant([(index, name)])
    refusal = claims.claim(0, names[0], names[1], exists=True).refusal
    assert repr(names[0]) in refusal
    assert repr(names[1]) in refusal
    assert "overwrite" in refusal
    claims.close()


@pytest.mark.parametrize("make_link", ["symlink_to", "hardlink_to"])
def test_output_that_is_an_input_by_another_name_is_refused(tmp_path, make_link):
    (tmp_path / "in").touch()
    getattr(tmp_path / "out", make_link)(tmp_path / "in")
    claims = Claims(None, [str(tmp_path / "in")])
    assert claims.claim(0, "in", str(tmp_path / "out"), exists=True).refusal
    claims.close()


def test_output_over_a_member_of_a_group_is_refused(tmp_path):
    (tmp_path / "in").touch()
    claims = Claims(None, [["missing", [tmp_path / "in"]]])
    assert claims.claim(0, ["group"], str(tmp_path / "in"), exists=True).refusal
    claims.close()


def test_file_of_an_earlier_run_may_be_written_over(claims, tmp_path):
    (tmp_path / "x").touch()
    assert claims.claim(0, "a", str(tmp_path / "x"), exists=True) == FREE


def test_output_of_a_file_that_is_run_is_not_kept_for_one_that_need_not_be(claims):
    claims.claim(1, "a", "/nowhere/x", exists=False)
    assert not claims.keep("b", "/nowhere/x")
    claims.finish([(1, True)])
    assert not claims.keep("b", "/nowhere/x")


def test_inputs_that_are_no_names_are_told_apart_if_they_need_not_be_run(claims):
    assert claims.keep(7, "/nowhere/sum.fits")
    assert claims.keep(8, "/nowhere/sum.fits")
    assert not claims.keep(7, "/nowhere/sum.fits")


@pytest.mark.parametrize(
    ("second", "may_have_it"),
    [("raw/a.fits", False), ("raw/../raw/a.fits", False), ("raw/b.fits", True)],
    ids=["the same", "by another path", "another"],
)
def test_output_of_two_files_that_need_not_be_run_is_kept_unless_they_are_one(
    claims, second, may_have_it
):
    """The files for which `file_write` returned one name; an input given twice is refused."""
    assert claims.keep("raw/a.fits", "/nowhere/sum.fits")
    assert claims.keep(second, "/nowhere/sum.fits") is may_have_it


def test_input_that_is_there_twice_is_told_so(claims):
    assert claims.claim(0, "a", "out/a", exists=False) == FREE
    claims.finish([(0, True)])
    refusal = claims.claim(1, "a", "out/a", exists=True).refusal
    assert refusal == "'a' is among the inputs twice, but 'out/a' is written once: omit one"


@pytest.mark.parametrize(
    "name", ["with\nnewline", "surrogate\udcff", "quote'\"", "x" * 250], ids=lambda x: ascii(x)[:12]
)
def test_any_name_can_be_claimed(claims, name):
    assert claims.claim(0, name, f"out/{name}", exists=False) == FREE
    claims.finish([(0, True)])
    assert "would both be written" in claims.claim(1, "b", f"out/{name}", exists=False).refusal


def test_one_name_in_two_folders_is_two_names(claims):
    assert claims.claim(0, "a", "one/x", exists=False) == FREE
    assert claims.claim(1, "b", "two/x", exists=False) == FREE


def test_many_output_folders_do_not_confuse_the_register(claims):
    for i in range(1500):
        assert claims.claim(i, str(i), f"out/{i}/x", exists=False) == FREE
    claims.finish([(0, True)])
    assert claims.claim(1500, "again", "out/0/x", exists=False).refusal


# The worker's side.


class Scripted(Claimant):
    """Has its answers ready."""

    def __init__(self, granted=None, answers=()):
        super().__init__(granted)
        self.questions = []
        self.answers = list(answers)

    def _send(self, outname, exists):
        self.questions.append((outname, exists))

    def _receive(self):
        return self.answers.pop(0)


def test_granted_name_is_not_asked_for():
    claimant = Scripted("out/x")
    claimant.ask("out/x", exists=False)
    claimant.confirm()
    assert not claimant.questions


@pytest.mark.parametrize(("name", "exists"), [("out/x", True), ("out/y", False)])
def test_other_names_and_those_that_exist_are_asked_for(name, exists):
    claimant = Scripted("out/x", answers=[""])
    claimant.ask(name, exists)
    claimant.confirm()
    assert claimant.questions == [(name, exists)]
    assert not claimant.answers


def test_refused_name_raises_when_it_is_confirmed():
    claimant = Scripted(answers=["taken by another"])
    claimant.ask("x", exists=False)
    with pytest.raises(CollisionError, match="taken by another"):
        claimant.confirm()


def test_answer_to_a_question_that_was_given_up_is_not_taken_for_the_next():
    claimant = Scripted(answers=["", "taken"])
    claimant.ask("x", exists=False)
    claimant.ask("y", exists=False)
    with pytest.raises(CollisionError):
        claimant.confirm()


def test_claimant_outside_a_run_agrees_to_everything():
    claimant = Claimant()
    claimant.ask("x", exists=True)
    claimant.confirm()


def test_direct_claimant_asks_by_a_call():
    claimant = DirectClaimant(None, lambda outname, exists: f"no {outname}, {exists}")
    claimant.ask("x", exists=True)
    with pytest.raises(CollisionError, match="no x, True"):
        claimant.confirm()


# The register in a folder.


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "claims"
    folder.mkdir()
    return str(folder)


def test_folder_gives_a_name_to_the_first_who_claims_it(folder):
    assert FolderClaims(folder).claim(0, "a", "out/x") == ""
    refusal = FolderClaims(folder).claim(1, "b", "out/x")
    assert "'a'" in refusal
    assert "'b'" in refusal


def test_folder_refuses_one_input_that_is_given_twice(folder):
    assert FolderClaims(folder).claim(0, "a", "out/x") == ""
    assert FolderClaims(folder).claim(1, "a", "out/x") != ""


def test_folder_lets_a_file_claim_its_name_again(folder):
    group = [f"{i:04d}.fits" for i in range(5000)]
    FolderClaims(folder).claim(0, group, "out/x")
    assert FolderClaims(folder).claim(0, group, "out/x") == ""


def test_folder_refuses_an_output_over_an_input(folder, tmp_path):
    FolderClaims(folder, [str(tmp_path / "in")])
    refusal = FolderClaims(folder).claim(0, "a", str(tmp_path / "." / "in"))
    assert repr(str(tmp_path / "in")) in refusal
    assert "overwrite" in refusal
